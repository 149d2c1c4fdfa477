import { createHash } from 'node:crypto'
import { type ChangeSink, NULL, TEXT, type TupleView } from '../src/change/change.js'
import { LSN_ZERO, type Lsn, maxLsn } from '../src/change/lsn.js'
import type { Relation } from '../src/change/relation.js'
import { keyText, type Row, type SimulatedTable } from './tables.js'

/** A table of the simulation as the stream announces it. */
export interface HashedTable {
  readonly table: SimulatedTable
  readonly columns: Relation['columns']
}

/** A column's text, null, or no text: a TOASTed value that the UPDATE left alone. */
type Values = Readonly<Record<string, string | null | readonly []>>
const UNSENT = [] as const

interface Change {
  readonly kind: 'insert' | 'update' | 'delete' | 'truncate'
  readonly table: string
  /** Of the row that was there before, if there was one. */
  readonly key: string
  readonly text: string
}

/**
 * A running hash over the standard changes of a history: equal for every output plugin, server and run that carries the same ones.
 *
 * It covers each change's kind, table, old key (under replica identity full, the old row), new values as text, and where commits are. It
 * leaves out what differs between runs: positions, transaction ids and times. And it leaves out what plugins are free to say or not:
 *
 * - transactions that change none of the tables;
 * - an old key that is the new row's (wal2json always sends it, the others only if it changed);
 * - how many tables a TRUNCATE names at once, and its flags.
 *
 * A statement may touch its rows in any order, which depends on where they are stored. So, within a run of changes of one kind and table,
 * changes are put in the order of their old keys; those of one key stay in theirs.
 */
export class ChangeHash implements ChangeSink<HashedTable> {
  readonly #tables: readonly SimulatedTable[]
  readonly #hash = createHash('sha256')
  /** Of the transaction in progress. */
  #changes: Change[] = []
  #count = 0
  /** Everything before it has been hashed. */
  position = LSN_ZERO

  constructor(tables: readonly SimulatedTable[]) {
    this.#tables = tables
  }

  /** How many changes were committed; a TRUNCATE counts as one for each table. */
  get changes(): number {
    return this.#count
  }

  /** Hexadecimal. Ends the hash. */
  digest(): string {
    return this.#hash.digest('hex')
  }

  begin(): void {
    this.#changes = []
  }

  relation({ schema, name, columns }: Relation): HashedTable | null {
    const table = this.#tables.find(each => each.schema === schema && each.name === name)
    return table === undefined ? null : { table, columns }
  }

  insert(of: HashedTable, row: TupleView): void {
    const after = valuesOf(of, row)
    this.#add('insert', of, after, { after })
  }

  update(of: HashedTable, old: TupleView | null, oldIsFull: boolean, row: TupleView): void {
    const after = valuesOf(of, row)
    const before = old === null ? after : valuesOf(of, old)
    this.#add('update', of, before, oldIsFull ? { before, after } : { after })
  }

  delete(of: HashedTable, old: TupleView, oldIsFull: boolean): void {
    const before = valuesOf(of, old)
    this.#add('delete', of, before, oldIsFull ? { before } : {})
  }

  truncate(tables: readonly HashedTable[]): void {
    for (const { table } of tables)
      this.#changes.push({ kind: 'truncate', table: nameOf(table), key: '', text: '' })
  }

  message(): void {
    // Not of any table, and not every plugin has them.
  }

  commit(endLsn: Lsn): void {
    this.position = endLsn
    if (this.#changes.length === 0) return
    for (const { kind, table, key, text } of inCanonicalOrder(this.#changes))
      this.#hash.update(`${kind} ${table} ${key} ${text}\n`)
    this.#hash.update('commit\n')
    this.#count += this.#changes.length
    this.#changes = []
  }

  progress(lsn: Lsn): void {
    this.position = maxLsn(this.position, lsn)
  }

  #add(kind: Change['kind'], { table }: HashedTable, keyed: Values, values: object): void {
    this.#changes.push({
      kind,
      table: nameOf(table),
      key: keyText(table, keyed as Row),
      text: JSON.stringify(values),
    })
  }
}

function nameOf({ schema, name }: SimulatedTable): string {
  return JSON.stringify([schema, name])
}

function valuesOf({ table, columns }: HashedTable, tuple: TupleView): Values {
  return Object.fromEntries(
    table.columns.map(({ name }) => [
      name,
      valueOf(
        tuple,
        columns.findIndex(column => column.name === name),
      ),
    ]),
  )
}

function valueOf({ kinds, bytes, starts, ends }: TupleView, column: number): Values[string] {
  if (kinds[column] === NULL) return null
  if (kinds[column] !== TEXT) return UNSENT
  return Buffer.from(bytes.subarray(starts[column], ends[column])).toString('utf8')
}

/** Each run of changes of one kind and table, by key; all TRUNCATEs in a row are one run, by table. */
function inCanonicalOrder(changes: readonly Change[]): Change[] {
  const runs: Change[][] = []
  for (const change of changes) {
    const run = runs.at(-1)
    if (run !== undefined && isOfRun(change, run[0]!)) run.push(change)
    else runs.push([change])
  }
  return runs.flatMap(run => run.toSorted(byTableAndKey))
}

function isOfRun(change: Change, first: Change): boolean {
  return change.kind === first.kind && (change.kind === 'truncate' || change.table === first.table)
}

function byTableAndKey(one: Change, other: Change): number {
  if (one.table !== other.table) return one.table < other.table ? -1 : 1
  if (one.key === other.key) return 0
  return one.key < other.key ? -1 : 1
}
