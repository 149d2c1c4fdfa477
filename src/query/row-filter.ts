import type { TupleView } from '../change/change.js'
import type { TableMapping } from '../mapping/mapping.js'
import { keyTextOf } from '../sql/key-text.js'
import type { LiveTable } from './live.js'
import { compile, TRUE } from './predicate.js'
import { type Condition, readWhere } from './where.js'

/** Which rows of a table are meant, to be told from their texts. */
export interface RowFilter {
  readonly matches: (row: TupleView) => boolean
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
export function rowFilter({ mapping, finder }: LiveTable, where: unknown): RowFilter {
  const condition = readWhere(mapping, where)
  const predicate = compile(condition, finder.types)
  return { matches: row => predicate(row) === TRUE, equality: equalityIn(condition, mapping) }
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
