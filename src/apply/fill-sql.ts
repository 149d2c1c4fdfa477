import { parseLsn, type Lsn } from '../change/lsn.js'
import { SqlSnapshot } from '../change/sql-snapshot.js'
import type { Xid8 } from '../change/xid.js'
import { TupleView } from '../change/change.js'
import { assert } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { amongKept } from '../mapping/table-filter.js'
import { mustBeSame, sameTypes, selectList, tupleOfRow } from '../mapping/text-row.js'
import type { TextRow } from '../runtime.js'
import { anyOf } from '../sql/comparison.js'
import { quoteIdentifier, quoteQualified } from '../sql/quote.js'
import type { GroupValue } from '../store/group-index.js'
import type { RecordFormat } from '../store/record.js'
import type { PackedRow } from '../store/packed-row.js'
import { idOf } from './fill-image.js'

/** What one query found, and as of when. */
export interface FillReply {
  readonly snapshot: SqlSnapshot
  /** Everything that the snapshot sees ends at or before this position: it was asked for after the snapshot was taken. */
  readonly position: Lsn
  /** The server's start time. */
  readonly startedAt: string
  readonly inRecovery: boolean
  readonly rows: ReadonlyMap<string, FilledRow>
}

export interface FilledRow {
  readonly row: PackedRow
  /** The transaction that wrote it, or a later one; 0 if it was long ago. It may be a subtransaction. */
  readonly xmin: Xid8
}

/** FirstNormalTransactionId: lower ones stand for rows that everybody sees. */
const FIRST_NORMAL_XID = 3

/** One key or row at a time is looked at: a view is too large to make one for each. */
const seen = new TupleView()

/**
 * One statement: the snapshot, the position, and the rows, so that they belong together. To be run in READ COMMITTED, where a statement's
 * snapshot is taken when it has its locks: in a stricter one a query that has waited for an ALTER TABLE or TRUNCATE finds no rows.
 *
 * The join gives one row where there is none to be found. A standby can't tell its insert position; its answer is refused, but it is an answer.
 */
export function keysSql(mapping: TableMapping, format: RecordFormat, keys: readonly Buffer[]): Statement {
  const parameters: string[] = []
  const where = oneOf(mapping, mapping.key, keyTextsOf(mapping, format, keys), parameters)
  return { sql: select(mapping, where), parameters }
}

/** The same of the rows that lie in the blocks from `from` on and before `to`: all of them that the statement's snapshot sees there. */
export function blocksSql(mapping: TableMapping, from: number, to: number): Statement {
  return {
    sql: select(mapping, 't.ctid >= $1::tid AND t.ctid < $2::tid'),
    parameters: [`(${from},0)`, `(${to},0)`],
  }
}

/** The same for the rows of some groups of one index, and those with some keys besides, no more than `limit` in all. */
export function groupsSql(
  mapping: TableMapping,
  format: RecordFormat,
  values: readonly GroupValue[],
  keys: readonly Buffer[],
  limit: number,
): Statement {
  const parameters: string[] = []
  const texts = values.map(value => value.texts.map(text => text.toString()))
  const where = [oneOf(mapping, values[0]!.index.columns, texts, parameters)]
  if (keys.length > 0) where.push(oneOf(mapping, mapping.key, keyTextsOf(mapping, format, keys), parameters))
  return { sql: select(mapping, where.join(' OR '), limit), parameters }
}

export interface Statement {
  readonly sql: string
  readonly parameters: readonly string[]
}

function select(mapping: TableMapping, where: string, limit?: number): string {
  return `SELECT s.*, t.*
  FROM (SELECT pg_current_snapshot() AS snapshot, pg_is_in_recovery() AS recovering, pg_postmaster_start_time() AS started,
               CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_insert_lsn() END AS position, ${sameTypes(mapping)} AS same) AS s
  LEFT JOIN (SELECT t.xmin AS xmin, ${selectList(mapping)} FROM ${quoteQualified(mapping.schema, mapping.table)} AS t
              WHERE ${amongKept(mapping.filter, where)}${limit === undefined ? '' : ` LIMIT ${limit}`}) AS t ON true`
}

/** These columns have one of these lists of values, which become parameters. */
function oneOf(
  { columns }: TableMapping,
  positions: readonly number[],
  texts: readonly (readonly string[])[],
  parameters: string[],
): string {
  const parameter = (text: string): string => `$${parameters.push(text)}`
  const compared = positions.map(position => {
    const { column: name, hasArrayType, compositeType } = columns[position]!
    return { reference: `t.${quoteIdentifier(name)}`, hasArrayType, compositeType }
  })
  const [only, ...others] = compared
  if (others.length === 0)
    return anyOf(
      only!,
      texts.map(([text]) => text!),
      parameter,
    )
  const rows = texts.map(row => `(${row.map(parameter).join(', ')})`)
  return `(${compared.map(({ reference }) => reference).join(', ')}) IN (${rows.join(', ')})`
}

function keyTextsOf(mapping: TableMapping, format: RecordFormat, keys: readonly Buffer[]): string[][] {
  return keys.map(key => keyTexts(mapping, format, key))
}

/** The key's values as PostgreSQL spells them. */
function keyTexts({ key: columns }: TableMapping, format: RecordFormat, key: Buffer): string[] {
  format.readKey(key, 0, seen)
  return columns.map(column => key.toString('utf8', seen.starts[column], seen.ends[column]))
}

/** @throws {TableReloadingError} if the texts are of other types than those of the mapping. */
export function readReply(
  mapping: TableMapping,
  format: RecordFormat,
  answer: readonly TextRow[],
): FillReply {
  const [first] = answer
  assert(first !== undefined, 'an outer join has a row')
  mustBeSame(mapping, first)
  const snapshot = SqlSnapshot.parse(first['snapshot']!)
  const order = format.order(column => column)
  const rows = new Map<string, FilledRow>()
  for (const found of answer) {
    const xmin = found['xmin']
    if (xmin === null || xmin === undefined) continue
    tupleOfRow(mapping.columns.length, found, seen)
    const bytes = Buffer.allocUnsafe(format.measure(seen, order, format.columns))
    const ascii = format.write(seen, order, format.columns, bytes, 0)
    const isOld = Number(xmin) < FIRST_NORMAL_XID
    rows.set(idOf(bytes.subarray(0, format.keyEnd(bytes, 0))), {
      row: { bytes, ascii },
      xmin: isOld ? (0n as Xid8) : snapshot.widen(Number(xmin)),
    })
  }
  return {
    snapshot,
    position: parseLsn(first['position']!),
    startedAt: first['started']!,
    inRecovery: first['recovering'] === 't',
    rows,
  }
}
