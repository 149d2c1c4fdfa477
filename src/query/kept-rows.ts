import { NotLocalError, QueryError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { TableFilter } from '../mapping/table-filter.js'
import { quoteLiteral } from '../sql/quote.js'
import { ColumnTypes, compile, TRUE } from './predicate.js'
import { conditionSql } from './select-sql.js'
import { type Condition, readWhere } from './where.js'

/**
 * The rows that a declared `where` means: to PostgreSQL, which loads them, and to us, who find them in the stream. Both have to mean the same
 * of every row, so whatever only PostgreSQL can tell is refused: then a text says why, and what to do.
 */
export function keptRows(mapping: TableMapping, where: object): TableFilter | string {
  const types = new FilterTypes(mapping)
  try {
    const condition = readWhere(mapping, where)
    types.begin()
    const predicate = compile(condition, types)
    const [ranked] = types.doubtful()
    if (ranked !== undefined)
      return `its where goes by the order of ${mapping.columns[ranked]!.property}'s labels, which new ones change. Name the labels: in: [...].`
    return {
      sql: conditionSql(mapping, condition, quoteLiteral),
      columns: [...columnsIn(condition)],
      matches: row => predicate(row) === TRUE,
    }
  } catch (error) {
    if (error instanceof QueryError) return `its where means nothing: ${error.problem}`
    if (error instanceof NotLocalError)
      return `its where can't be told here, and for each change it has to be: ${types.why} Keep all rows, or choose by another column.`
    throw error
  }
}

/** Takes note of why something can't be told here. */
class FilterTypes extends ColumnTypes {
  why = ''

  override notLocal(
    column: number,
    reason: 'type' | 'collation' | 'value',
    explanation: string,
  ): NotLocalError {
    this.why = `${this.mapping.columns[column]!.property}: ${explanation}`
    return super.notLocal(column, reason, explanation)
  }
}

function columnsIn(condition: Condition): Set<number> {
  switch (condition.kind) {
    case 'constant':
      return new Set()
    case 'and':
    case 'or':
      return new Set(condition.of.flatMap(each => [...columnsIn(each)]))
    case 'not':
      return columnsIn(condition.of)
    case 'null':
    case 'compare':
    case 'in':
    case 'text':
      return new Set([condition.column])
  }
}
