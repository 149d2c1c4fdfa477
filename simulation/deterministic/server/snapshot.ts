/** An SQL snapshot: which transactions a query sees. */
export class Snapshot {
  constructor(
    readonly xmin: number,
    readonly xmax: number,
    readonly running: ReadonlySet<number>,
  ) {}

  sees(xid: number): boolean {
    return xid < this.xmin || (xid < this.xmax && !this.running.has(xid))
  }

  /** As `pg_current_snapshot()` prints it. */
  get text(): string {
    return `${this.xmin}:${this.xmax}:${[...this.running].toSorted((a, b) => a - b).join(',')}`
  }
}

export const SEES_ALL = new Snapshot(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, new Set())
