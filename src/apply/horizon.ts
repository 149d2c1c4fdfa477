import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { Xid8 } from '../change/xid.js'

/** Snapshots whose position has not been reached, at most: of others nothing is learned. */
const SNAPSHOTS_MAX = 64

/** Before which transaction id all have ended and are published: the oldest running one of a query's snapshot, once the position asked for with it is reached. */
export class Horizon {
  /** All transactions before this one are published, or were never committed. */
  xid = 0n as Xid8
  readonly #snapshots: { readonly position: Lsn; readonly xmin: Xid8 }[] = []

  /** A query's snapshot saw nothing that ends behind this position. `reached` is where the visible state is. */
  note({ xmin }: SqlSnapshot, position: Lsn, reached: Lsn): void {
    if (xmin <= this.xid || this.#snapshots.length >= SNAPSHOTS_MAX) return
    this.#snapshots.push({ position, xmin })
    this.move(reached)
  }

  /** The visible state has come so far. */
  move(reached: Lsn): void {
    for (let i = this.#snapshots.length - 1; i >= 0; i--) {
      const { position, xmin } = this.#snapshots[i]!
      if (position > reached) continue
      if (xmin > this.xid) this.xid = xmin
      this.#snapshots.splice(i, 1)
    }
  }

  /** Transaction ids may be used again. */
  forget(): void {
    this.xid = 0n as Xid8
    this.#snapshots.length = 0
  }
}
