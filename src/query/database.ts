import { NULL, TEXT, TupleView } from '../change/change.js'
import { CacheError, DatabaseReadError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { RowFactory } from '../mapping/values.js'
import type { QueryConnection, TextRow } from '../runtime.js'
import { quoteIdentifier, quoteQualified } from '../sql/quote.js'
import type { DatabaseGate } from './gate.js'
import type { KeyReader } from './key.js'

/** Runs a query on a session of walcache's own. */
export type RunQuery = <T>(work: (session: QueryConnection) => Promise<T>, signal?: AbortSignal) => Promise<T>

/** What a fall-through read needs of its table. */
export interface DatabaseTable {
  readonly mapping: TableMapping
  readonly keys: KeyReader
  readonly rows: RowFactory
}

/** Reads that memory could not answer: ordinary parameterised SQL, with the same mapping and parsers, and never more than the gate lets through. */
export class DatabaseReader {
  readonly #gate: DatabaseGate
  readonly #run: RunQuery

  constructor(gate: DatabaseGate, run: RunQuery) {
    this.#gate = gate
    this.#run = run
  }

  /**
   * The row with this key as PostgreSQL has it now, or null.
   *
   * @throws {KeyError} @throws {OverloadedError} @throws {DatabaseReadError} with what the server said as its cause.
   */
  async findByKey(
    { mapping, keys, rows }: DatabaseTable,
    key: unknown,
    signal?: AbortSignal,
  ): Promise<object | null> {
    const parameters = keys.parameters(key)
    try {
      const [row] = await this.#gate.pass(
        () => this.#run(session => session.query(selectByKey(mapping), parameters), signal),
        signal,
      )
      return row === undefined ? null : rows.read(rows.decode(viewOf(mapping, row), false))
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof CacheError) throw error
      throw new DatabaseReadError(mapping.name, { cause: error })
    }
  }
}

/** Columns are named by their position, so that no column's name means anything here. */
function selectByKey({ columns, key, schema, table }: TableMapping): string {
  const list = columns
    .map(({ column }, position) => `t.${quoteIdentifier(column)} AS c${position}`)
    .join(', ')
  const where = key
    .map((column, part) => `t.${quoteIdentifier(columns[column]!.column)} = $${part + 1}`)
    .join(' AND ')
  return `SELECT ${list} FROM ${quoteQualified(schema, table)} AS t WHERE ${where}`
}

function viewOf({ columns }: TableMapping, row: TextRow): TupleView {
  const view = new TupleView()
  const texts = columns.map((_, position) => row[`c${position}`] ?? null)
  view.bytes = Buffer.from(texts.map(text => text ?? '').join(''))
  view.count = texts.length
  let at = 0
  for (const [column, text] of texts.entries()) {
    view.kinds[column] = text === null ? NULL : TEXT
    view.starts[column] = at
    at += text === null ? 0 : Buffer.byteLength(text)
    view.ends[column] = at
  }
  return view
}
