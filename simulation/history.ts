import { type Fault, type FaultName, faults as allFaults } from './faults/faults.js'
import type { Model } from './model.js'
import type { Operation } from './operation.js'
import type { Random } from './random.js'
import { keyOf, keyText, randomValue, type Row, type SimulatedColumn, type SimulatedTable } from './tables.js'

export interface HistoryOptions {
  readonly random: Random
  readonly tables: readonly SimulatedTable[]
  readonly writers: number
  /** How many transactions. */
  readonly steps: number
  /** What the history has done so far: whoever pulls an operation applies it here before pulling the next. */
  readonly model: Model
  /** Whether transactions may also be prepared first: needs max_prepared_transactions. */
  readonly twoPhase: boolean
  readonly truncates: boolean
  /** What goes wrong now and then. */
  readonly faults: readonly FaultName[]
}

/**
 * A random history, decided by the seed: `steps` transactions of several writers, interleaved statement by statement,
 * with barriers where no transaction is open; the last operation is one. Tables with many rows get their first ones before.
 *
 * No statement ever waits for a lock. Each key belongs to one writer, and only its owner touches it; what needs more
 * (TRUNCATE, keys of others) is done by a transaction that is alone from BEGIN to COMMIT.
 */
export function* generateHistory(options: HistoryOptions): Generator<Operation> {
  const { random, writers, steps, faults } = options
  const needsRest = (name: FaultName): boolean => (allFaults[name] as Fault).atRest === true
  const faultsAtRest = faults.filter(needsRest)
  const faultsOnTheWay = faults.filter(name => !needsRest(name))
  const open = new Map<number, Iterator<Operation, void>>()
  const everyWriter = Array.from({ length: writers }, (_, writer) => writer)
  let started = 0
  let untilBarrier = random.between(10, 50)
  let nextIsAlone = false
  yield* firstRows(options)

  for (;;) {
    const finished = started === steps
    if (open.size === 0 && (finished || untilBarrier <= 0)) {
      yield { kind: 'barrier' }
      if (finished) return
      if (faultsAtRest.length > 0 && random.chance(FAULT_AT_REST_CHANCE))
        yield { kind: 'fault', fault: random.pick(faultsAtRest) }
      untilBarrier = random.between(10, 50)
    }
    const draining = finished || untilBarrier <= 0 || nextIsAlone
    if (nextIsAlone && open.size === 0) {
      yield* transaction(new Author(options, random.pick(everyWriter), 'alone'))
      nextIsAlone = false
      started++
      untilBarrier--
      continue
    }
    const writer = random.pick(draining ? [...open.keys()] : everyWriter)
    let running = open.get(writer)
    if (running === undefined) {
      running = transaction(new Author(options, writer, 'beside others'))
      open.set(writer, running)
      started++
      untilBarrier--
      nextIsAlone = random.chance(0.08)
    }
    const step = running.next()
    if (step.done === true) open.delete(writer)
    else yield step.value
    if (random.chance(0.01)) yield { kind: 'look' }
    if (faultsOnTheWay.length > 0 && random.chance(FAULT_CHANCE))
      yield { kind: 'fault', fault: random.pick(faultsOnTheWay) }
  }
}

/** So many rows an INSERT of the first ones has. */
const FIRST_ROWS_AT_ONCE = 250

function* firstRows(options: HistoryOptions): Generator<Operation, void> {
  const crowded = options.tables.filter(table => table.crowd !== undefined)
  if (crowded.length === 0) return
  const author = new Author(options, 0, 'alone')
  yield { kind: 'begin', writer: author.writer }
  for (const table of crowded) yield* author.fill(table, table.crowd!.firstRows, FIRST_ROWS_AT_ONCE)
  yield { kind: 'commit', writer: author.writer }
}

function* transaction(author: Author): Generator<Operation, void> {
  const { random, writer } = author
  yield { kind: 'begin', writer }
  if (!random.chance(0.05)) {
    yield* author.statements(random.between(1, 6))
    if (author.mayTruncate && random.chance(0.5)) {
      yield* author.truncate()
      yield* author.statements(random.between(0, 3))
    }
  }
  if (random.chance(0.08)) {
    yield { kind: 'rollback', writer }
  } else if (author.options.twoPhase && random.chance(0.05)) {
    yield { kind: 'prepare', writer }
    yield { kind: 'commit prepared', writer }
  } else {
    yield { kind: 'commit', writer }
  }
}

/** After a statement, and at a barrier. */
const FAULT_CHANCE = 0.02
const FAULT_AT_REST_CHANCE = 0.7

const STATEMENTS = {
  insert: 40,
  update: 40,
  delete: 12,
  move: 8,
  swap: 4,
  replace: 5,
  savepoint: 8,
  nothing: 2,
}

/** Makes up the statements of one transaction; those in `STATEMENTS` by name. */
class Author {
  readonly random: Random
  readonly alone: boolean
  #savepoints = 0

  constructor(
    readonly options: HistoryOptions,
    readonly writer: number,
    company: 'alone' | 'beside others',
  ) {
    this.random = options.random
    this.alone = company === 'alone'
  }

  get mayTruncate(): boolean {
    return this.alone && this.options.truncates
  }

  *statements(count: number): Generator<Operation, void> {
    for (let statement = 0; statement < count; statement++) {
      const table = this.random.pick(this.options.tables)
      yield* this[this.random.weighted(STATEMENTS)](table)
    }
  }

  *truncate(): Generator<Operation, void> {
    const small = this.options.tables.filter(table => table.crowd === undefined)
    const tables = this.random.sample(small, this.random.between(1, 2))
    if (this.random.chance(0.5)) yield* this.insert(tables[0]!)
    yield { kind: 'truncate', writer: this.writer, tables }
    if (this.random.chance(0.7)) yield* this.insert(tables[0]!)
  }

  *savepoint(): Generator<Operation, void> {
    const { writer } = this
    const name = `s${this.#savepoints++}`
    yield { kind: 'savepoint', writer, name }
    if (this.mayTruncate && this.random.chance(0.3)) yield* this.truncate()
    yield* this.statements(this.random.between(1, 3))
    yield { kind: this.random.chance(0.6) ? 'rollback to' : 'release', writer, name }
  }

  /** Inserts `rows` rows, `atOnce` of them with a statement. */
  *fill(table: SimulatedTable, rows: number, atOnce: number): Generator<Operation, void> {
    for (let left = rows; left > 0; left -= atOnce) yield* this.#insertRows(table, Math.min(left, atOnce))
  }

  *insert(table: SimulatedTable): Generator<Operation, void> {
    yield* this.#insertRows(table, this.#upTo(table, 4))
  }

  *#insertRows(table: SimulatedTable, count: number): Generator<Operation, void> {
    const rows = this.#freshKeys(table, count).map(key => this.#row(table, key))
    if (rows.length > 0) yield { kind: 'insert', writer: this.writer, table, rows }
  }

  *update(table: SimulatedTable): Generator<Operation, void> {
    const rows = this.#someRows(table, this.#upTo(table, 3))
    if (rows.length === 0) return
    const columns = table.columns.filter(column => !table.key.includes(column.name))
    const set = this.#values(this.random.sample(columns, this.random.between(1, 2)))
    yield { kind: 'update', writer: this.writer, table, keys: rows.map(row => keyOf(table, row)), set }
  }

  *delete(table: SimulatedTable): Generator<Operation, void> {
    const keys = this.#someRows(table, this.#upTo(table, 2)).map(row => keyOf(table, row))
    if (keys.length > 0) yield { kind: 'delete', writer: this.writer, table, keys }
  }

  /** Changes a row's key, and at times another column with it. */
  *move(table: SimulatedTable): Generator<Operation, void> {
    const [row] = this.#someRows(table, 1)
    const [to] = this.#freshKeys(table, 1)
    if (row === undefined || to === undefined) return
    const columns = table.columns.filter(column => !table.key.includes(column.name))
    const also = this.random.chance(0.4) ? this.#values([this.random.pick(columns)]) : {}
    yield this.#toKey(table, keyOf(table, row), { ...to, ...also })
  }

  /** Two rows change places, through a third key. */
  *swap(table: SimulatedTable): Generator<Operation, void> {
    const [one, other] = this.#someRows(table, 2).map(row => keyOf(table, row))
    const [third] = this.#freshKeys(table, 1)
    if (one === undefined || other === undefined || third === undefined) return
    yield this.#toKey(table, one, third)
    yield this.#toKey(table, other, one)
    yield this.#toKey(table, third, other)
  }

  /** Deletes a row and inserts another one with its key. */
  *replace(table: SimulatedTable): Generator<Operation, void> {
    const [row] = this.#someRows(table, 1)
    if (row === undefined) return
    const key = keyOf(table, row)
    yield { kind: 'delete', writer: this.writer, table, keys: [key] }
    yield { kind: 'insert', writer: this.writer, table, rows: [this.#row(table, key)] }
  }

  /** An UPDATE and a DELETE of rows that are not there. */
  *nothing(table: SimulatedTable): Generator<Operation, void> {
    const keys = this.#freshKeys(table, 1)
    if (keys.length === 0) return
    const values = table.columns.find(column => !table.key.includes(column.name))!
    yield { kind: 'update', writer: this.writer, table, keys, set: this.#values([values]) }
    yield { kind: 'delete', writer: this.writer, table, keys }
  }

  #toKey(table: SimulatedTable, from: Row, set: Row): Operation {
    return { kind: 'update', writer: this.writer, table, keys: [from], set }
  }

  #row(table: SimulatedTable, key: Row): Row {
    return { ...this.#values(table.columns), ...key }
  }

  #values(columns: readonly SimulatedColumn[]): Row {
    return Object.fromEntries(columns.map(column => [column.name, randomValue(column, this.random)]))
  }

  /** How many rows a statement is to concern. */
  #upTo(table: SimulatedTable, most: number): number {
    return this.random.between(1, most * (table.crowd?.statementFactor ?? 1))
  }

  #someRows(table: SimulatedTable, count: number): Row[] {
    const rows = this.options.model.rows(this.writer, table).filter(row => this.#mayTouch(table, row))
    return this.random.sample(rows, count)
  }

  /** Keys without a row; fewer than `count` where the table is nearly full. */
  #freshKeys(table: SimulatedTable, count: number): Row[] {
    const fresh = new Map<string, Row>()
    const attempts = 40 * (table.crowd?.statementFactor ?? 1)
    for (let attempt = 0; attempt < attempts && fresh.size < count; attempt++) {
      const key = table.randomKey(this.random)
      if (!this.#mayTouch(table, key) || this.options.model.has(this.writer, table, key)) continue
      fresh.set(keyText(table, key), key)
    }
    return [...fresh.values()]
  }

  #mayTouch(table: SimulatedTable, row: Row): boolean {
    return this.alone || ownerOf(keyText(table, row), this.options.writers) === this.writer
  }
}

/** FNV-1a: spreads the keys over the writers. */
function ownerOf(key: string, writers: number): number {
  let hash = 0x811c_9dc5
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), 0x0100_0193)
  return (hash >>> 0) % writers
}
