import { KeyError, NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { databaseParameter, type KeyText, keyTextOf } from '../sql/key-text.js'
import type { KeyBuffer } from '../store/record.js'
import type { DecodedKey } from '../store/table.js'

/** Integer types that a number holds exactly, by OID (int2, int4, oid): the least and the greatest value. */
const INTEGER_TYPES: ReadonlyMap<number, readonly [number, number]> = new Map([
  [21, [-32_768, 32_767]],
  [23, [-2_147_483_648, 2_147_483_647]],
  [26, [0, 4_294_967_295]],
])

/** Whether decoded rows of this table are kept under numbers: the key is one column of a type that a number holds exactly. */
export function hasIntegerKey({ key, columns }: TableMapping): boolean {
  return key.length === 1 && INTEGER_TYPES.has(columns[key[0]!]!.baseTypeOid)
}

/** Reads a caller's key of one table: a value, or an object of the key's properties. */
export class KeyReader {
  readonly #table: string
  readonly #properties: readonly string[]
  readonly #texts: readonly KeyText[]
  readonly #integer: boolean
  readonly #least: number
  readonly #greatest: number

  constructor(mapping: TableMapping) {
    const columns = mapping.key.map(column => mapping.columns[column]!)
    this.#table = mapping.name
    this.#properties = columns.map(({ property }) => property)
    this.#texts = columns.map(keyTextOf)
    this.#integer = hasIntegerKey(mapping)
    // No number is in the empty range that other keys get.
    ;[this.#least, this.#greatest] = (this.#integer && INTEGER_TYPES.get(columns[0]!.baseTypeOid)) || [0, -1]
  }

  /**
   * Spells the key in `buffer`, as a record would begin with it, and returns what a decoded row of it is kept under.
   *
   * @throws {KeyError} for what can't be a key of this table. @throws {NotLocalError} for what only PostgreSQL can compare.
   */
  read(key: unknown, buffer: KeyBuffer): DecodedKey {
    buffer.clear()
    // Hot: the commonest key by far, spelled without making a string.
    if (typeof key === 'number' && key >= this.#least && key <= this.#greatest && Number.isInteger(key)) {
      buffer.appendInteger(key)
      return key
    }
    const texts = this.#texts
    if (texts.length === 1) {
      const text = this.#text(0, isKeyObject(key) ? this.#valuesOf(key)[0] : key)
      buffer.append(text)
      return this.#integer ? Number(text) : text
    }
    let joined = ''
    const values = this.values(key)
    for (let i = 0; i < texts.length; i++) {
      const text = this.#text(i, values[i])
      buffer.append(text)
      joined = i === 0 ? text : `${joined}\0${text}`
    }
    return joined
  }

  #text(part: number, value: unknown): string {
    const text = this.#texts[part]!(value)
    if (typeof text === 'string') return text
    const property = this.#properties[part]!
    if (text.kind === 'impossible') throw new KeyError(this.#table, `${property}: ${text.reason}`)
    throw new NotLocalError(
      this.#table,
      'key type',
      `${property}: ${text.reason} Use findUnique, which asks PostgreSQL.`,
    )
  }

  /** The key's values, in the key's order. @throws {KeyError} */
  values(key: unknown): unknown[] {
    if (isKeyObject(key)) return this.#valuesOf(key)
    if (this.#properties.length === 1) return [key]
    throw new KeyError(this.#table, `give an object of ${this.#properties.join(', ')}.`)
  }

  /** The key's values as parameters of a query. @throws {KeyError} */
  parameters(key: unknown): string[] {
    return this.values(key).map((value, part) => {
      try {
        return databaseParameter(value)
      } catch (error) {
        throw new KeyError(this.#table, `${this.#properties[part]!} can't be sent to PostgreSQL.`, {
          cause: error,
        })
      }
    })
  }

  #valuesOf(key: object): unknown[] {
    const given = key as Readonly<Record<string, unknown>>
    for (const property of Object.keys(given))
      if (!this.#properties.includes(property))
        throw new KeyError(
          this.#table,
          `${property} is not part of the key (${this.#properties.join(', ')}), and no other unique key has just these properties.`,
        )
    return this.#properties.map(property => {
      const value = given[property]
      if (value === undefined || value === null)
        throw new KeyError(this.#table, `${property} is missing; a key has no null and no undefined in it.`)
      return value
    })
  }
}

/** Whether the key is given as an object of properties. */
export function isKeyObject(key: unknown): key is object {
  return typeof key === 'object' && key !== null && !(key instanceof Date) && !(key instanceof Uint8Array)
}
