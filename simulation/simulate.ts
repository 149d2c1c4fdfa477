import pg from 'pg'
import type { DecoderName } from '../src/decode/index.js'
import { ChangeRecorder } from './change-recorder.js'
import { Checker } from './checker.js'
import type { Difference } from './compare.js'
import { generateHistory } from './history.js'
import { Model } from './model.js'
import type { Oddity } from './decoders.js'
import { HistoryHash, type Operation, operationText } from './operation.js'
import { Random } from './random.js'
import { createTableSql, selectAll } from './sql.js'
import type { Subject, SubjectOptions } from './subject.js'
import { finiteTables, type SimulatedTable, simulatedTables } from './tables.js'
import { Writers } from './writers.js'

export interface SimulationOptions {
  readonly seed: number
  /** How many transactions. */
  readonly steps: number
  /** An empty database. */
  readonly databaseUrl: string
  /** Whether the change stream is cut off now and then. */
  readonly cuts?: boolean
  /** What the history is not to have, since not every decoder can carry it. */
  readonly leaveOut?: readonly Oddity[]
  /** With whose changes `changesHash` is made. Not together with `cuts`, which would cut them off too. */
  readonly recordWith?: DecoderName
  readonly openSubject: (options: SubjectOptions) => Promise<Subject>
}

export interface SimulationResult {
  readonly seed: number
  /** Committed ones. */
  readonly transactions: number
  /** Rows that they inserted, updated or deleted. */
  readonly changes: number
  readonly comparisons: number
  /** How often the change stream was cut off. */
  readonly cuts: number
  /** SHA-256 of the history up to its end or the mismatch. */
  readonly historyHash: string
  /** SHA-256 of the standard changes, as `ChangeHash` has it; undefined without `recordWith`, or after a mismatch. */
  readonly changesHash: string | undefined
  /** Why it ended before its time. */
  readonly mismatch: Mismatch | undefined
}

export interface Mismatch {
  /** How many transactions had committed. */
  readonly step: number
  /** The operation after which it was found. */
  readonly operation: string
  readonly difference: Difference
}

const WRITERS = 4
const CUT_STREAMS = `
  select pg_terminate_backend(pid) from pg_stat_activity
  where backend_type = 'walsender' and datname = current_database()`
/** Salt of the random numbers that the checks draw. */
const CHECKS = 1

/**
 * Carries a random history out in Postgres and in a model, and compares them with the subject on the way and at the
 * end. Stops at the first mismatch. The same seed and steps give the same history.
 */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { databaseUrl, leaveOut = [], recordWith, openSubject } = options
  const tables = leaveOut.includes('NaN and the infinities') ? finiteTables : simulatedTables
  const model = new Model(tables)
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    for (const table of tables) await client.query(createTableSql(table))
    await using writers = await Writers.connect(databaseUrl, WRITERS)
    await using subject = await openSubject({ databaseUrl, tables })
    await using recorder =
      recordWith === undefined
        ? undefined
        : await ChangeRecorder.open({ databaseUrl, tables, decoder: recordWith })
    return await carryOutAll(options, { tables, model, writers, subject, recorder, client })
  } finally {
    await client.end()
  }
}

/** Carries the history out to its end, or to the first mismatch. */
async function carryOutAll(options: SimulationOptions, actors: Actors): Promise<SimulationResult> {
  const { seed, steps, cuts = false, leaveOut = [] } = options
  const { tables, model, subject, recorder } = actors
  const random = new Random(seed)
  const hash = new HistoryHash()
  using checker = new Checker(model, subject, random.fork(CHECKS))
  const stage: Stage = { ...actors, checker }
  const history = {
    random,
    tables,
    writers: WRITERS,
    steps,
    model,
    twoPhase: true,
    truncates: !leaveOut.includes('TRUNCATE'),
    cuts,
  }

  let mismatch: Mismatch | undefined
  let timesCut = 0
  for (const operation of generateHistory(history)) {
    hash.add(operation)
    if (operation.kind === 'cut') timesCut++
    const difference = await carryOut(operation, stage)
    if (difference === undefined) continue
    mismatch = { step: model.transactions, operation: operationText(operation), difference }
    break
  }
  const recorded = mismatch === undefined ? await recorder?.finish() : undefined
  if (recorded !== undefined && recorded.count !== model.changes)
    mismatch = {
      step: model.transactions,
      operation: 'the end',
      difference: {
        where: 'the model and the standard changes',
        table: '',
        problem: 'number of changes',
        expected: model.changes,
        actual: recorded.count,
      },
    }
  return {
    seed,
    transactions: model.transactions,
    changes: model.changes,
    comparisons: checker.comparison.comparisons,
    cuts: timesCut,
    historyHash: hash.digest(),
    changesHash: recorded?.hash,
    mismatch,
  }
}

/** Whoever takes part. */
interface Actors {
  readonly tables: readonly SimulatedTable[]
  readonly model: Model
  readonly writers: Writers
  readonly subject: Subject
  readonly recorder: ChangeRecorder | undefined
  readonly client: pg.Client
}

interface Stage extends Actors {
  readonly checker: Checker
}

async function carryOut(
  operation: Operation,
  { tables, model, writers, subject, checker, client }: Stage,
): Promise<Difference | undefined> {
  if (operation.kind === 'look') return checker.look()
  if (operation.kind === 'cut') {
    await client.query(CUT_STREAMS)
    return undefined
  }
  if (operation.kind === 'barrier') {
    await subject.catchUp()
    return checker.barrier(await selectAll(client, tables))
  }
  const before = model.transactions
  const expected = model.apply(operation)
  // Before Postgres is asked: the subject may show a commit before its writer hears of it.
  if (model.transactions > before) checker.committed()
  const actual = await writers.apply(operation)
  if (actual === expected) return undefined
  return { where: 'the model and SQL', table: '', problem: 'number of rows touched', expected, actual }
}
