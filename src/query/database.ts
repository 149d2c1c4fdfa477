import { TupleView } from '../change/change.js'
import { SqlSnapshot } from '../change/sql-snapshot.js'
import { CacheError, DatabaseReadError } from '../errors.js'
import { type LogPages, positionColumns, readPosition } from '../freshness/server-position.js'
import type { LogPosition } from '../freshness/token.js'
import type { TableMapping } from '../mapping/mapping.js'
import { amongKept } from '../mapping/table-filter.js'
import { mustBeSame, sameTypes, selectList, tupleOfRow } from '../mapping/text-row.js'
import type { RowFactory } from '../mapping/values.js'
import type { QueryConnection, TextRow } from '../runtime.js'
import { quoteIdentifier, quoteQualified } from '../sql/quote.js'
import type { Finder } from './find.js'
import type { DatabaseGate } from './gate.js'
import type { KeyReader } from './key.js'
import type { CheckedQuery } from './query.js'
import { countSql, selectSql, type Selection } from './select-sql.js'
import type { UniqueKeys } from './unique.js'
import type { Condition } from './where.js'

/** Runs a query on a session of walcache's own. */
export type RunQuery = <T>(work: (session: QueryConnection) => Promise<T>, signal?: AbortSignal) => Promise<T>

/** What a fall-through read needs of its table. */
export interface DatabaseTable {
  readonly mapping: TableMapping
  readonly keys: KeyReader
  readonly uniques: UniqueKeys
  readonly rows: RowFactory
  readonly finder: Finder
}

/** What PostgreSQL answered, and a position at or after everything that the answer shows. */
export interface Fetched<T> {
  readonly value: T
  readonly position: LogPosition
  /** Which transactions it shows. */
  readonly snapshot: SqlSnapshot
}

/** Reads that memory could not answer: ordinary parameterised SQL, with the same mapping and parsers, and never more than the gate lets through. */
export class DatabaseReader {
  readonly #gate: DatabaseGate
  readonly #run: RunQuery
  readonly #pages: () => LogPages
  /** One row at a time is read out of an answer. */
  readonly #view = new TupleView()

  constructor(gate: DatabaseGate, run: RunQuery, pages: () => LogPages) {
    this.#gate = gate
    this.#run = run
    this.#pages = pages
  }

  /** The row with this key as PostgreSQL has it now, or null. Throws as `select` does. @throws {KeyError} */
  async findByKey(table: DatabaseTable, key: unknown, signal?: AbortSignal): Promise<Fetched<object | null>> {
    const { mapping, keys, rows, uniques } = table
    const unique = uniques.read(key)
    if (unique !== null) {
      const found = await this.findMany(table, unique, signal)
      return { ...found, value: uniques.only(found.value) ?? null }
    }
    const selection = { sql: selectByKey(mapping), parameters: keys.parameters(key) }
    const { value, ...at } = await this.select(table, selection, signal)
    const [row] = value
    return {
      value:
        row === undefined
          ? null
          : rows.read(rows.decode(tupleOfRow(mapping.columns.length, row, this.#view), false)),
      ...at,
    }
  }

  /** The query's rows as PostgreSQL has them now. Throws as `select` does. */
  async findMany(
    table: DatabaseTable,
    query: CheckedQuery,
    signal?: AbortSignal,
  ): Promise<Fetched<object[]>> {
    const { mapping, rows, finder } = table
    const { value: found, ...at } = await this.select(table, selectSql(mapping, query), signal)
    const { columns } = query
    if (columns === null) {
      const value = found.map(row =>
        rows.read(rows.decode(tupleOfRow(mapping.columns.length, row, this.#view), false)),
      )
      return { value, ...at }
    }
    const projection = finder.projections.of(columns)
    return {
      value: found.map(row => projection.read(tupleOfRow(columns.length, row, this.#view), false)),
      ...at,
    }
  }

  /** How many rows the condition holds for in PostgreSQL now. Throws as `select` does. */
  async count(table: DatabaseTable, where: Condition, signal?: AbortSignal): Promise<Fetched<number>> {
    const { value, ...at } = await this.select(table, countSql(table.mapping, where), signal)
    return { value: Number(value[0]!['c0']), ...at }
  }

  /**
   * What a selection gives now, in its order, as texts.
   *
   * @throws {OverloadedError} @throws {DatabaseReadError} with what the server said as its cause. @throws {TableReloadingError} if columns have other
   * types by now. Rejects with the signal's reason when it aborts.
   */
  async select(
    { mapping }: DatabaseTable,
    { sql, parameters }: Selection,
    signal?: AbortSignal,
  ): Promise<Fetched<TextRow[]>> {
    try {
      const statement = withPosition(mapping, sql)
      const answer = await this.#gate.pass(
        () => this.#run(session => session.query(statement, parameters), signal),
        signal,
      )
      mustBeSame(mapping, answer[0]!)
      return {
        value: answer.filter(row => row['found'] !== null),
        position: readPosition(answer[0]!, this.#pages()),
        snapshot: SqlSnapshot.parse(answer[0]!['snapshot']!),
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof CacheError) throw error
      throw new DatabaseReadError(mapping.name, { cause: error })
    }
  }
}

/**
 * One statement, so one snapshot: everything that the rows show had been written to the log before the insert position is looked at. It gives
 * a row even if the selection gives none; the selection's order stays, since there is one row to join it to.
 */
function withPosition(mapping: TableMapping, sql: string): string {
  return `SELECT place.*, answer.* FROM (SELECT pg_catalog.pg_current_snapshot() AS snapshot, ${positionColumns('pg_catalog.pg_current_wal_insert_lsn()')},
      ${sameTypes(mapping)} AS same) AS place
    LEFT JOIN (SELECT true AS found, selected.* FROM (${sql}) AS selected) AS answer ON true`
}

function selectByKey(mapping: TableMapping): string {
  const { columns, key, schema, table } = mapping
  const where = key
    .map((column, part) => `t.${quoteIdentifier(columns[column]!.column)} = $${part + 1}`)
    .join(' AND ')
  return `SELECT ${selectList(mapping)} FROM ${quoteQualified(schema, table)} AS t WHERE ${amongKept(mapping.filter, where)}`
}
