import type { TupleView } from '../change/change.js'
import type { TableMapping } from '../mapping/mapping.js'
import { keyTextOf } from '../sql/key-text.js'
import type { LiveTable } from './live.js'
import { type ColumnTypes, compile, type Predicate, TRUE } from './predicate.js'
import { type Condition, readWhere } from './where.js'

/** Which rows of a table are meant, to be told from their texts. */
export interface RowFilter {
  readonly matches: (row: TupleView) => boolean
  /** Whether a row may be meant of which the values of these columns, one or more, are not known: what stands in their places is not looked at. */
  readonly mayMatch: (row: TupleView, untold: readonly number[]) => boolean
  /** A column, and the texts that it has in all rows that are meant; null if there is none. */
  readonly equality: Equality | null
}

interface Equality {
  readonly column: number
  readonly texts: readonly string[]
}

/**
 * The rows that `where` means, without asking PostgreSQL.
 *
 * @throws {QueryError} for what is no condition. @throws {NotLocalError} for one that only PostgreSQL can decide.
 */
export function rowFilter({ mapping, finder, table }: LiveTable, where: unknown): RowFilter {
  const condition = readWhere(mapping, where)
  const predicate = compile(condition, finder.types)
  // Only bounded tables have rows of which not all is known.
  const parts = table.residency === null ? [] : partsOf(condition, finder.types)
  return {
    matches: row => predicate(row) === TRUE,
    mayMatch: (row, untold) =>
      parts.every(
        part => part.columns.some(column => untold.includes(column)) || part.predicate(row) === TRUE,
      ),
    equality: equalityIn(condition, mapping),
  }
}

/** What has to be true of a row, each by itself, and the columns that it looks at. */
interface Part {
  readonly columns: readonly number[]
  readonly predicate: Predicate
}

function partsOf(condition: Condition, types: ColumnTypes): Part[] {
  const all = condition.kind === 'and' ? condition.of : [condition]
  return all.map(part => ({ columns: columnsIn(part), predicate: compile(part, types) }))
}

function columnsIn(condition: Condition): readonly number[] {
  switch (condition.kind) {
    case 'constant':
      return []
    case 'and':
    case 'or':
      return condition.of.flatMap(columnsIn)
    case 'not':
      return columnsIn(condition.of)
    case 'null':
    case 'compare':
    case 'in':
    case 'text':
      return [condition.column]
  }
}

/** A value, or one of several, that the condition demands of a column whose equal values have equal texts. */
function equalityIn(condition: Condition, mapping: TableMapping): Equality | null {
  if (condition.kind === 'compare' && condition.op === '=')
    return textsOf(mapping, condition.column, [condition.value.given])
  if (condition.kind === 'in')
    return textsOf(
      mapping,
      condition.column,
      condition.values.map(({ given }) => given),
    )
  if (condition.kind !== 'and') return null
  const [fewest] = condition.of
    .map(each => equalityIn(each, mapping))
    .filter(equality => equality !== null)
    .toSorted((a, b) => a.texts.length - b.texts.length)
  return fewest ?? null
}

function textsOf({ columns }: TableMapping, column: number, values: readonly unknown[]): Equality | null {
  const spell = keyTextOf(columns[column]!)
  const texts = values.map(spell)
  return texts.every(text => typeof text === 'string') ? { column, texts } : null
}
