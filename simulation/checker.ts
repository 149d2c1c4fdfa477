import { Comparison, type Difference, type View } from './compare.js'
import type { Model, State } from './model.js'
import type { Random } from './random.js'
import type { Subject, SubjectSnapshot } from './subject.js'
import { keyText } from './tables.js'

/** How many snapshots stay open over later commits. */
const KEPT_SNAPSHOTS = 4
const ABSENT_KEYS = 25
/** Where a difference is that followers of changes see. */
export const TOLD = 'the model and the change feed'

/**
 * Compares the model, what a SELECT says, and what the subject shows and tells.
 *
 * Besides at barriers, where all must be equal, it looks while commits are on their way: then the subject must show the
 * state after one of the model's commits, over all tables, and never an earlier one than before.
 */
export class Checker implements Disposable {
  readonly comparison = new Comparison()
  /** Looks that the subject has refused to answer. */
  refused = 0
  /** The states that the subject may show next, oldest first. */
  #candidates: State[]
  readonly #kept: {
    readonly snapshot: SubjectSnapshot
    readonly state: State
    readonly transactions: number
  }[] = []

  constructor(
    readonly model: Model,
    readonly subject: Subject,
    /** Not the history's: what is looked up must not change what happens. */
    readonly random: Random,
  ) {
    this.#candidates = [model.committed]
  }

  /** To be called after each commit. */
  committed(): void {
    this.#candidates.push(this.model.committed)
  }

  /** While transactions are open: the first difference to every state that could be shown, undefined if one fits, or if the subject refuses to say. */
  look(): Difference | undefined {
    return this.#unlessRefused(() => {
      const snapshot = this.subject.snapshot()
      try {
        const shown = this.#candidates.findIndex(
          state => this.comparison.difference(state, snapshot.view, 'on the way') === undefined,
        )
        if (shown === -1) {
          const nearest = this.comparison.difference(this.model.committed, snapshot.view, 'on the way')
          return { ...nearest!, where: 'on the way: a state after no commit; compared with the newest' }
        }
        this.#candidates = this.#candidates.slice(shown)
      } catch (error) {
        snapshot[Symbol.dispose]()
        throw error
      }
      this.#keepOrClose(snapshot, this.#candidates[0]!)
      return this.#keptDifference()
    })
  }

  #unlessRefused(look: () => Difference | undefined): Difference | undefined {
    try {
      return look()
    } catch (error) {
      if (!this.subject.refuses(error)) throw error
      this.refused++
      return undefined
    }
  }

  /** With all writers idle and the subject caught up: the first difference between them. */
  barrier(selected: View): Difference | undefined {
    const state = this.model.committed
    this.#candidates = [state]
    const snapshot = this.subject.snapshot()
    const difference =
      this.comparison.difference(state, selected, 'the model and SELECT') ??
      this.comparison.difference(state, this.subject.now, 'the model and the cache') ??
      this.comparison.difference(state, snapshot.view, 'the model and a new snapshot') ??
      this.comparison.difference(state, this.subject.told, TOLD) ??
      this.#absentKeys(state, snapshot.view) ??
      this.#keptDifference()
    this.#keepOrClose(snapshot, state)
    return difference
  }

  [Symbol.dispose](): void {
    for (const { snapshot } of this.#kept.splice(0)) snapshot[Symbol.dispose]()
  }

  #keepOrClose(snapshot: SubjectSnapshot, state: State): void {
    if (this.random.chance(0.5)) {
      snapshot[Symbol.dispose]()
      return
    }
    this.#kept.push({ snapshot, state, transactions: this.model.transactions })
    if (this.#kept.length <= KEPT_SNAPSHOTS) return
    const [leaving] = this.#kept.splice(this.random.below(this.#kept.length), 1)
    leaving?.snapshot[Symbol.dispose]()
  }

  #keptDifference(): Difference | undefined {
    for (const { snapshot, state, transactions } of this.#kept) {
      const where = `a snapshot kept since commit ${transactions}`
      const found = this.#unlessRefused(() => this.comparison.difference(state, snapshot.view, where))
      if (found !== undefined) return found
    }
    return undefined
  }

  #absentKeys(state: State, view: View): Difference | undefined {
    for (const [table, rows] of state) {
      const keys = Array.from({ length: ABSENT_KEYS }, () => table.randomKey(this.random))
      const absent = keys.filter(key => !rows.has(keyText(table, key)))
      const found = this.comparison.unexpected(table, absent, view, 'keys without a row')
      if (found !== undefined) return found
    }
    return undefined
  }
}
