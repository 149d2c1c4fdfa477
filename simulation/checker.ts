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
  /** Rows of the subject, by where they were read. */
  readonly #now = new Comparison()
  readonly #onTheWay = new Comparison()
  readonly #keptSnapshots = new Comparison()
  /** Rows that it has told, and those of SELECT: no reads of the subject. */
  readonly #told = new Comparison()
  readonly #selected = new Comparison()
  /** Looks that the subject has refused to answer. */
  refused = 0
  #lastMoment: string | undefined
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

  /** How many rows that the subject has shown were compared with the model's. */
  get comparisons(): number {
    const { atBarriers, onTheWay, keptSnapshots } = this.comparisonsBy
    return atBarriers + onTheWay + keptSnapshots
  }

  /** The same by the moment at which they were shown; and besides, rows as its change feed has told them. */
  get comparisonsBy(): Readonly<Record<'atBarriers' | 'onTheWay' | 'keptSnapshots' | 'told', number>> {
    return {
      atBarriers: this.#now.comparisons,
      onTheWay: this.#onTheWay.comparisons,
      keptSnapshots: this.#keptSnapshots.comparisons,
      told: this.#told.comparisons,
    }
  }

  /** To be called after each commit. */
  committed(): void {
    this.#candidates.push(this.model.committed)
  }

  /** While commits are on their way: the difference to the newest state if none fits that could be shown; undefined if one does, or if the subject refuses to say. */
  look(): Difference | undefined {
    return this.#unlessRefused(() => {
      const snapshot = this.subject.snapshot()
      try {
        const difference = this.#onTheWayDifference(snapshot.view)
        if (difference !== undefined) return difference
      } catch (error) {
        snapshot[Symbol.dispose]()
        throw error
      }
      this.#keepOrClose(snapshot, this.#candidates[0]!)
      return this.#keptDifference()
    })
  }

  /** The same, but snapshots that are kept are left alone, and nothing is looked at where it would be what was seen last. */
  glance(): Difference | undefined {
    const { moment } = this.subject
    if (moment === this.#lastMoment) return undefined
    this.#lastMoment = moment
    return this.#unlessRefused(() => {
      using snapshot = this.subject.snapshot()
      return this.#onTheWayDifference(snapshot.view)
    })
  }

  #onTheWayDifference(view: View): Difference | undefined {
    const shown = this.#onTheWay.firstEqual(this.#candidates, view)
    if (shown === -1) {
      const nearest = this.#onTheWay.difference(this.model.committed, view, 'on the way')
      return { ...nearest!, where: 'on the way: a state after no commit; compared with the newest' }
    }
    this.#candidates = this.#candidates.slice(shown)
    return undefined
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
      this.#selected.difference(state, selected, 'the model and SELECT') ??
      this.#now.difference(state, this.subject.now, 'the model and the cache') ??
      this.#now.difference(state, snapshot.view, 'the model and a new snapshot') ??
      this.#told.difference(state, this.subject.told, TOLD) ??
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
      const found = this.#unlessRefused(() => this.#keptSnapshots.difference(state, snapshot.view, where))
      if (found !== undefined) return found
    }
    return undefined
  }

  #absentKeys(state: State, view: View): Difference | undefined {
    for (const [table, rows] of state) {
      const keys = Array.from({ length: ABSENT_KEYS }, () => table.randomKey(this.random))
      const absent = keys.filter(key => !rows.has(keyText(table, key)))
      const found = this.#now.unexpected(table, absent, view, 'keys without a row')
      if (found !== undefined) return found
    }
    return undefined
  }
}
