import type { Lsn } from '../change/lsn.js'
import type { CommitSeq } from './address.js'

/** One state of all tables, kept readable: nothing it sees is pruned until it is released. */
export class Snapshot {
  readonly seq: CommitSeq
  readonly position: Lsn
  readonly #unpin: (seq: CommitSeq) => void
  #released = false

  constructor(seq: CommitSeq, position: Lsn, unpin: (seq: CommitSeq) => void) {
    this.seq = seq
    this.position = position
    this.#unpin = unpin
  }

  get released(): boolean {
    return this.#released
  }

  /** Lets go of the state. Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#unpin(this.seq)
  }
}
