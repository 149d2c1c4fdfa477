import { KeyError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { databaseParameter } from '../sql/key-text.js'
import { isKeyObject } from './key.js'
import type { CheckedQuery } from './query.js'
import { all, type Condition } from './where.js'

/** Rows that are asked for where there should be one: a second one shows that the key is not unique. */
export const UNIQUE_ASKED = 2

export interface UniqueKey {
  /** Positions in the mapping. */
  readonly columns: readonly number[]
  readonly properties: readonly string[]
}

/**
 * The unique keys of one table beside its primary key, as the catalogue has them: whole unique indexes on columns.
 *
 * Where one row is looked up by such a key, two are asked for: an index may have been dropped, or its collation be a finer one than the column's,
 * and which of two rows is meant can't be guessed. A deferrable constraint is as good as any, since only committed states are read.
 */
export class UniqueKeys {
  readonly #table: string
  readonly #keys: readonly UniqueKey[]

  constructor({ name, columns, key, uniqueKeys }: TableMapping) {
    this.#table = name
    this.#keys = uniqueKeys
      .filter(unique => unique.length !== key.length || !unique.every(column => key.includes(column)))
      .map(unique => ({ columns: unique, properties: unique.map(column => columns[column]!.property) }))
  }

  /**
   * The rows that a caller's key means, if it is an object of the properties of one of these; else null.
   *
   * @throws {KeyError} for a part that is missing. (A value that can't be one of its column is a QueryError of the query.)
   */
  read(key: unknown): CheckedQuery | null {
    const found = this.#find(key)
    return found === null
      ? null
      : {
          where: this.#condition(found, key as object),
          orderBy: [],
          skip: 0,
          take: UNIQUE_ASKED,
          columns: null,
        }
  }

  /** Which of these a caller's key is, if any: then it is a condition, too. Hot: once per look-up. @throws {KeyError} as `read` does. */
  of(key: unknown): UniqueKey | null {
    const found = this.#find(key)
    if (found === null) return null
    const values = key as Readonly<Record<string, unknown>>
    const { properties } = found
    // A condition may be more than a value; a key may not.
    for (let i = 0; i < properties.length; i++)
      if (!isPlainValue(values[properties[i]!])) this.#condition(found, values)
    return found
  }

  #find(key: unknown): UniqueKey | null {
    if (this.#keys.length === 0 || !isKeyObject(key)) return null
    const given = Object.keys(key)
    for (let i = 0; i < this.#keys.length; i++)
      if (areSame(this.#keys[i]!.properties, given)) return this.#keys[i]!
    return null
  }

  #condition({ columns, properties }: UniqueKey, key: object): Condition {
    const values = key as Readonly<Record<string, unknown>>
    return all(
      properties.map((property, part) => {
        const value = values[property]
        if (value === undefined || value === null)
          throw this.#refuse(`${property} is missing; NULLs are not unique.`)
        try {
          const operand = { given: value, parameter: databaseParameter(value), place: part }
          return { kind: 'compare', column: columns[part]!, op: '=', value: operand }
        } catch (cause) {
          throw this.#refuse(`${property} is not a text, number, bigint, boolean, Date or bytes.`, { cause })
        }
      }),
    )
  }

  /** The row among those that were found; undefined if there is none. @throws {KeyError} if there are two. */
  only(rows: readonly object[]): object | undefined {
    if (rows.length > 1) throw this.#refuse('more than one row has it, so it is not unique (any more).')
    return rows[0]
  }

  #refuse(problem: string, options?: ErrorOptions): KeyError {
    return new KeyError(this.#table, problem, options)
  }
}

function areSame(properties: readonly string[], given: readonly string[]): boolean {
  if (properties.length !== given.length) return false
  for (let i = 0; i < given.length; i++) if (!properties.includes(given[i]!)) return false
  return true
}

const PLAIN_TYPES: ReadonlySet<string> = new Set(['number', 'bigint', 'boolean'])

function isPlainValue(value: unknown): boolean {
  return (
    typeof value === 'string' ||
    PLAIN_TYPES.has(typeof value) ||
    value instanceof Date ||
    value instanceof Uint8Array
  )
}
