import type { Prepared } from './prepared.js'
import { isOtherThanEmpty } from './where.js'

/** What kind of question a shape is of: they differ in the parts that they may have. */
export type QuestionKind = 'findMany' | 'findFirst' | 'count'

// What a shape is told by, beside the names in it.
const OBJECT = 0
const END = 1
const VALUE = 2
const NULL = 3
/** And so many more as the list has elements. */
const LIST = 8

type Token = string | number

/** Elements of a list of values that make a shape; conditions of a longer one take longer to answer than to read. */
const LISTED_MAX = 16
/** Deeper queries are read anew each time. */
const DEPTH_MAX = 16
/** What is kept for all shapes of one table together; beyond it all begin anew. */
const NODES_MAX = 8_192

class Node {
  prepared: Prepared | null = null
  /** The one that was added first: mostly there is no other. */
  token: Token = -1
  next: Node | null = null
  #others: Map<Token, Node> | null = null

  find(token: Token): Node | null {
    if (this.token === token) return this.next
    return this.#others?.get(token) ?? null
  }

  add(token: Token): Node {
    const node = new Node()
    if (this.next === null) {
      this.token = token
      this.next = node
    } else {
      this.#others ??= new Map()
      this.#others.set(token, node)
    }
    return node
  }
}

const NO_OPTIONS: ReadonlySet<string> = new Set()

/** Stands for a query that has no shape here: it is read as it is. */
const UNFIT = Symbol('unfit')

/**
 * Prepared queries by their shape: all of a query but the values that columns are compared with, `skip` and `take`. One walk over a query finds
 * its shape and collects the values, in the order in which `readWhere` numbers them.
 *
 * A query is the caller's object, which may do anything when it is looked at; so one walk at a time is made.
 */
export class Shapes {
  /** Of the query that was looked for last, and perhaps more of others behind them. */
  readonly values: unknown[] = []
  skip = 0
  /** Undefined: all. */
  take: number | undefined = undefined
  /** Whether the query that was looked for last has a shape that could be added. */
  isFit = false
  #roots = newRoots()
  #nodes = 0
  #count = 0
  #at: Node | null = null
  #isGrowing = false
  #isWalking = false

  /** How many values it has. */
  get count(): number {
    return this.#count
  }

  /**
   * The prepared query of this shape; null if there is none. Its values are left in `values`. `options` are names beside the query's own parts, which
   * make no difference. Hot: once per query.
   */
  find(kind: QuestionKind, query: unknown, options: ReadonlySet<string>): Prepared | null {
    if (this.#isWalking) {
      this.isFit = false
      return null
    }
    this.#isGrowing = false
    const isFit = this.#walk(kind, query, options) !== UNFIT
    this.isFit = isFit
    return isFit && this.#at !== null ? this.#at.prepared : null
  }

  /** Adds a plain copy of a query, which has been found to be fit. */
  add(kind: QuestionKind, query: unknown, prepared: Prepared): void {
    if (this.#nodes > NODES_MAX) this.clear()
    this.#isGrowing = true
    if (this.#walk(kind, query, NO_OPTIONS) !== UNFIT) this.#at!.prepared = prepared
  }

  /** Forgets all shapes. */
  clear(): void {
    this.#roots = newRoots()
    this.#nodes = 0
  }

  #walk(kind: QuestionKind, query: unknown, options: ReadonlySet<string>): typeof UNFIT | undefined {
    this.#count = 0
    this.skip = 0
    this.take = undefined
    this.#at = this.#roots[kind]
    this.#isWalking = true
    try {
      return this.#query(query, options)
    } finally {
      this.#isWalking = false
    }
  }

  /** Goes on even where nothing is known of the shape: the values are wanted, and whether it is fit. */
  #step(token: Token): void {
    const at = this.#at
    if (at === null) return
    const next = at.find(token)
    if (next !== null || !this.#isGrowing) {
      this.#at = next
      return
    }
    this.#nodes++
    this.#at = at.add(token)
  }

  #query(query: unknown, options: ReadonlySet<string>): typeof UNFIT | undefined {
    if (typeof query !== 'object' || query === null) return UNFIT
    const given = query as Readonly<Record<string, unknown>>
    const parts = Object.keys(given)
    if (parts.length === 0 && isOtherThanEmpty(query)) return UNFIT
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!
      if (options.size > 0 && options.has(part)) continue
      const value = given[part]
      this.#step(part)
      if (part === 'where') {
        if (typeof value !== 'object' || value === null || this.#where(value, 0) === UNFIT) return UNFIT
      } else if (part === 'take' || part === 'skip') {
        if (!Number.isSafeInteger(value) || (value as number) < 0) return UNFIT
        this[part] = value as number
      } else if (this.#literal(value, 0) === UNFIT) return UNFIT
    }
    return undefined
  }

  /** What is part of the shape as it is: an order, a selection. */
  #literal(value: unknown, depth: number): typeof UNFIT | undefined {
    if (typeof value === 'string') this.#step(value)
    else if (value === true) this.#step(VALUE)
    else if (typeof value !== 'object' || value === null || depth > DEPTH_MAX) return UNFIT
    else {
      this.#step(Array.isArray(value) ? LIST : OBJECT)
      const names = Object.keys(value)
      for (let i = 0; i < names.length; i++) {
        this.#step(names[i]!)
        if (this.#literal((value as Record<string, unknown>)[names[i]!], depth + 1) === UNFIT) return UNFIT
      }
      this.#step(END)
    }
    return undefined
  }

  #where(where: object, depth: number): typeof UNFIT | undefined {
    if (depth > DEPTH_MAX || isValue(where)) return UNFIT
    if (Array.isArray(where)) return this.#list(where, depth)
    this.#step(OBJECT)
    const names = Object.keys(where)
    if (names.length === 0 && isOtherThanEmpty(where)) return UNFIT
    for (let i = 0; i < names.length; i++) {
      this.#step(names[i]!)
      const value = (where as Record<string, unknown>)[names[i]!]
      if (this.#condition(value, depth) === UNFIT) return UNFIT
    }
    this.#step(END)
    return undefined
  }

  #condition(value: unknown, depth: number): typeof UNFIT | undefined {
    if (value === null) this.#step(NULL)
    else if (typeof value !== 'object') return this.#value(value)
    else if (isValue(value)) return this.#object(value)
    else return this.#where(value, depth + 1)
    return undefined
  }

  /** Of conditions, or of values. */
  #list(list: readonly unknown[], depth: number): typeof UNFIT | undefined {
    if (list.length > LISTED_MAX) return UNFIT
    this.#step(LIST + list.length)
    for (let i = 0; i < list.length; i++) if (this.#condition(list[i], depth + 1) === UNFIT) return UNFIT
    return undefined
  }

  #value(value: unknown): typeof UNFIT | undefined {
    if (
      typeof value !== 'string' &&
      typeof value !== 'number' &&
      typeof value !== 'boolean' &&
      typeof value !== 'bigint'
    )
      return UNFIT
    this.#step(VALUE)
    this.values[this.#count++] = value
    return undefined
  }

  #object(value: Date | Uint8Array): typeof UNFIT | undefined {
    if (value instanceof Date && Number.isNaN(value.getTime())) return UNFIT
    this.#step(VALUE)
    this.values[this.#count++] = value
    return undefined
  }
}

function newRoots(): Record<QuestionKind, Node> {
  return { findMany: new Node(), findFirst: new Node(), count: new Node() }
}

function isValue(value: object): value is Date | Uint8Array {
  return value instanceof Date || value instanceof Uint8Array
}

/** The query, which is fit, as objects and lists of its own that do nothing when they are looked at; without its options. */
export function plainQuery(query: object, options: ReadonlySet<string>): object {
  const parts = Object.entries(query).filter(([part]) => !options.has(part))
  return Object.fromEntries(parts.map(([part, value]) => [part, plainCopy(value)]))
}

function plainCopy(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || isValue(value)) return value
  if (Array.isArray(value)) return value.map(plainCopy)
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plainCopy(each)]))
}
