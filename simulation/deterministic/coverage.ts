export type FeatureCounts = Record<string, number>

/** What has been done in a run, counted. */
export class Coverage {
  /** Frames that were sent, again and again. */
  frames = 0
  /** Each frame of the log once. */
  distinctFrames = 0
  writes = 0
  comparisons = 0
  transactions = 0
  /** Effects of statements, by kind: `update accounts`. */
  readonly operations: FeatureCounts = {}
  #transaction = -1
  #frame = -1

  frame(transaction: number, frame: number): void {
    this.frames++
    if (transaction < this.#transaction || (transaction === this.#transaction && frame <= this.#frame)) return
    this.#transaction = transaction
    this.#frame = frame
    this.distinctFrames++
  }

  operation(kind: string): void {
    this.writes++
    this.operations[kind] = (this.operations[kind] ?? 0) + 1
  }
}
