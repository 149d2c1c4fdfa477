import { TEXT, type TupleView } from '../change/change.js'
import { encodingOf, type Encoding, hashOf, NULL_KEY } from '../sql/encode.js'
import { hashNumber } from '../sql/hash-bytes.js'
import type { ValueType } from '../sql/value-type.js'
import type { IndexKey, StoredIndex } from '../store/index/stored-index.js'
import type { TableIndexes } from '../store/index/table-indexes.js'
import type { ColumnTypes } from './predicate.js'
import type { Slot } from './slot.js'

/** An index of a table in memory, as queries use it. */
export interface TableIndex {
  /** By order: ranges, and prefixes of its columns. By hash: equality in all of its columns. */
  readonly kind: 'ordered' | 'hash'
  /** Positions in the mapping. */
  readonly columns: readonly number[]
  /** For each column where its numbers begin in a key, and behind them the width: a hash is one number for all columns. */
  readonly offsets: readonly number[]
  /** Makes numbers of values of each column; null for a hash. */
  readonly encodings: readonly Encoding[] | null
  readonly stored: StoredIndex
  /** The hash of one value for each column, null for NULL. */
  readonly hash: (values: readonly (Slot | null)[]) => number
}

/**
 * The indexes that a declared one becomes. An ordered one, if its columns have an order that is known here; a hash, where numbers would not tell
 * its values well apart (texts, uuids), or there is no order. None if its values can't be compared here: PostgreSQL is asked then in any case.
 * `isUnique`: two rows have the same values in these columns next to never.
 */
export function addIndexes(
  columns: readonly number[],
  types: ColumnTypes,
  indexes: TableIndexes,
  isUnique: boolean,
): readonly TableIndex[] {
  if (!columns.every(column => types.isComparable(column))) return []
  const ofColumns = columns.map(column => types.of(column))
  const isOrdered = ofColumns.every(({ ordered }) => ordered)
  const isNumber = isOrdered && encodingOf(ofColumns[0]!).width === 1
  const isText = ofColumns.some(({ like, name }) => like || name === 'citext')
  const made: TableIndex[] = []
  if (isNumber || (isOrdered && isText)) made.push(orderedIndex(columns, ofColumns, indexes))
  if (!isNumber) made.push(hashIndex(columns, ofColumns, indexes, isUnique))
  return made
}

function orderedIndex(
  columns: readonly number[],
  types: readonly ValueType[],
  indexes: TableIndexes,
): TableIndex {
  const encodings = types.map(encodingOf)
  const offsets = encodings.reduce<number[]>((sums, { width }) => [...sums, sums.at(-1)! + width], [0])
  const key: IndexKey = {
    isHash: false,
    isUnique: false,
    columns,
    width: offsets.at(-1)!,
    write(view, into) {
      for (let i = 0; i < columns.length; i++) {
        const column = columns[i]!
        const { starts, ends, kinds, bytes } = view
        if (kinds[column] === TEXT)
          encodings[i]!.write(bytes, starts[column]!, ends[column]!, into, offsets[i]!)
        else into.fill(NULL_KEY, offsets[i], offsets[i + 1])
      }
    },
  }
  return { kind: 'ordered', columns, offsets, encodings, stored: indexes.add(key), hash: () => 0 }
}

const NULL_HASH = 1

function hashIndex(
  columns: readonly number[],
  types: readonly ValueType[],
  indexes: TableIndexes,
  isUnique: boolean,
): TableIndex {
  const key: IndexKey = {
    isHash: true,
    isUnique,
    columns,
    width: 1,
    write({ kinds, bytes, starts, ends }: TupleView, into, seed) {
      let hash = seed
      for (let i = 0; i < columns.length; i++) {
        const column = columns[i]!
        hash =
          kinds[column] === TEXT
            ? hashOf(types[i]!, bytes, starts[column]!, ends[column]!, hash)
            : hashNumber(NULL_HASH, hash)
      }
      into[0] = hash
    },
  }
  const hash = (values: readonly (Slot | null)[]): number => {
    let sum = indexes.seed
    for (let i = 0; i < types.length; i++) {
      const value = values[i]!
      sum = value === null ? hashNumber(NULL_HASH, sum) : hashOf(types[i]!, value.bytes, 0, value.length, sum)
    }
    return sum
  }
  return { kind: 'hash', columns, offsets: [0, 1], encodings: null, stored: indexes.add(key), hash }
}
