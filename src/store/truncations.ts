import type { CommitSeq } from './address.js'

/**
 * The commits that emptied a table. A version is dead to a reader if one of them lies after the version's own commit and not after
 * the reader's: so TRUNCATE costs the same for one row or a million.
 */
export class Truncations {
  /** Ascending; those that matter to somebody. */
  readonly #seqs: CommitSeq[] = []
  /** The newest one, 0 if there is none. */
  newest: CommitSeq = 0

  add(seq: CommitSeq): void {
    if (this.newest === seq) return
    this.#seqs.push(seq)
    this.newest = seq
  }

  /** Takes back the newest one if it is `seq`. */
  undo(seq: CommitSeq): void {
    if (this.newest !== seq) return
    this.#seqs.pop()
    this.newest = this.#seqs.at(-1) ?? 0
  }

  /** Whether a version of commit `begin` is dead to a reader of state `at`. Hot: once per cold read. */
  killed(begin: CommitSeq, at: CommitSeq): boolean {
    if (begin >= this.newest) return false
    return this.newest <= at || this.#newestUpTo(at) > begin
  }

  #newestUpTo(at: CommitSeq): CommitSeq {
    for (let i = this.#seqs.length - 1; i >= 0; i--) if (this.#seqs[i]! <= at) return this.#seqs[i]!
    return 0
  }

  /** The newest one not after `horizon`; 0 if there is none: versions before it are dead to everybody. */
  newestDue(horizon: CommitSeq): CommitSeq {
    return this.#newestUpTo(horizon)
  }

  /** Forgets those up to `seq`: no version before it is left. */
  forget(seq: CommitSeq): void {
    while (this.#seqs.length > 0 && this.#seqs[0]! <= seq) this.#seqs.shift()
    this.newest = this.#seqs.at(-1) ?? 0
  }
}
