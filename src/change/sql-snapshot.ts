import { assert } from '../errors.js'
import { widenXid, type Xid8 } from './xid.js'

/**
 * An SQL snapshot, as `pg_current_snapshot()` tells it: which transactions a query saw. It lists top-level transactions only, as the change
 * stream does.
 *
 * Taken on a hot standby it lists no running transaction, and so would call them visible: only the primary's are of use.
 *
 * @see https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT-PARTS
 */
export class SqlSnapshot {
  readonly xmin: Xid8
  readonly xmax: Xid8
  readonly #running: ReadonlySet<bigint>

  private constructor(xmin: Xid8, xmax: Xid8, running: ReadonlySet<bigint>) {
    this.xmin = xmin
    this.xmax = xmax
    this.#running = running
  }

  /** Reads `xmin:xmax:xip_list`. */
  static parse(text: string): SqlSnapshot {
    const [xmin, xmax, running] = text.split(':')
    assert(xmin !== undefined && xmax !== undefined && running !== undefined, 'a snapshot has three parts')
    const list = running === '' ? [] : running.split(',').map(BigInt)
    return new SqlSnapshot(BigInt(xmin) as Xid8, BigInt(xmax) as Xid8, new Set(list))
  }

  /** Whether this committed top-level transaction was visible. */
  sees(xid: Xid8): boolean {
    return xid < this.xmin || (xid < this.xmax && !this.#running.has(xid))
  }

  /**
   * Whether every transaction that `earlier` saw is visible here too, which is not so as long as one of them is committed in the log only, and
   * a synchronous standby is waited for: a slot's snapshot counts it as committed, others do not.
   */
  includes(earlier: SqlSnapshot): boolean {
    for (const xid of this.#running) if (earlier.sees(xid as Xid8)) return false
    for (let xid = this.xmax; xid < earlier.xmax; xid++) if (earlier.sees(xid)) return false
    return true
  }

  /** The 64-bit id that a 32-bit one stands for, which is within 2^31 of those in the snapshot. */
  widen(xid: number): Xid8 {
    return widenXid(xid, this.xmax)
  }
}
