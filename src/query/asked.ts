import type { Prepared } from './prepared.js'
import type { CheckedQuery } from './query.js'
import type { QuestionKind } from './shapes.js'
import { withValues } from './where.js'

/** A query of a known shape: how that is answered, and what this one has of its own. */
export interface Recalled {
  readonly prepared: Prepared
  readonly values: readonly unknown[]
  readonly skip: number
  readonly take: number | undefined
}

/** A query as it was asked: it says the same later on, whatever becomes of the caller's object. */
export class AskedQuery {
  readonly kind: QuestionKind
  /** Null if its shape was not known. */
  readonly recalled: Recalled | null
  /** A plain copy of what was given, if its shape can be kept for others; else null. */
  readonly copy: object | null
  #checked: CheckedQuery | null

  private constructor(
    kind: QuestionKind,
    recalled: Recalled | null,
    copy: object | null,
    checked: CheckedQuery | null,
  ) {
    this.kind = kind
    this.recalled = recalled
    this.copy = copy
    this.#checked = checked
  }

  static recalled(kind: QuestionKind, recalled: Recalled): AskedQuery {
    return new AskedQuery(kind, recalled, null, null)
  }

  static read(kind: QuestionKind, checked: CheckedQuery, copy: object | null): AskedQuery {
    return new AskedQuery(kind, null, copy, checked)
  }

  /** In full: made only when it is needed. */
  get checked(): CheckedQuery {
    return (this.#checked ??= inFull(this.recalled!))
  }
}

function inFull({ prepared, values, skip, take }: Recalled): CheckedQuery {
  const { query } = prepared
  return { ...query, where: withValues(query.where, values), skip, take }
}
