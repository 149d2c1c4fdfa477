import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { DecoderName } from '../src/decode/index.js'
import { ChangeRecorder } from './change-recorder.js'
import { Checker, TOLD } from './checker.js'
import type { Difference } from './compare.js'
import type { FaultName, FaultScene } from './faults/faults.js'
import { Injector } from './faults/injector.js'
import { generateHistory } from './history.js'
import { Model } from './model.js'
import type { Oddity } from './decoders.js'
import { HistoryHash, type Operation, operationText } from './operation.js'
import { Random } from './random.js'
import type { Subject, SubjectOptions } from './subject.js'
import { crowdedTable, finiteTables, type SimulatedTable, simulatedTables } from './tables.js'
import { Writers } from './writers.js'

export interface SimulationOptions {
  readonly seed: number
  /** How many transactions. */
  readonly steps: number
  /** An empty database. */
  readonly databaseUrl: string
  /** What goes wrong between the subject and the server now and then; needs the server. */
  readonly faults?: { readonly names: readonly FaultName[]; readonly server: FaultScene['server'] }
  /** What the history is not to have, since not every decoder can carry it. */
  readonly leaveOut?: readonly Oddity[]
  /** With whose changes `changesHash` is made. Not together with faults, which would meet them too. */
  readonly recordWith?: DecoderName
  readonly openSubject: (options: SubjectOptions) => Promise<Subject>
}

export interface SimulationResult {
  readonly seed: number
  /** Committed ones. */
  readonly transactions: number
  /** Rows that they inserted, updated or deleted. */
  readonly changes: number
  /** Rows that the subject has shown, each compared with the model's, which at barriers was what SELECT says; both ways of reading it count. */
  readonly comparisons: number
  /** Of these, those at barriers, in between, and of snapshots that were kept; and rows as its change feed has told them, which `comparisons` leaves out. */
  readonly comparisonsBy: Checker['comparisonsBy']
  /** Looks that the subject refused to answer. */
  readonly refused: number
  /** How often the change feed was behind what was shown when a barrier was reached, and how often it was looked at again until it was not. */
  readonly feedBehind: Readonly<FeedBehind>
  /** How often each fault was begun. */
  readonly faults: Readonly<Partial<Record<FaultName, number>>>
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
/** Salts of the random numbers that the checks draw, and the faults. */
const CHECKS = 1
const FAULTS = 2
/** After the last fault: what was refused is answered again, and what the stream does not say has been found out. */
const RIGHT_AGAIN_MS = 60_000
/** What a load has made different is told once both generations have been compared, some turns after the new one is shown: after so many looks at the latest. */
const LOOKS_UNTIL_TOLD = 50
const LOOK_AGAIN_MS = 50
/** While memory comes right again, it may be looked at so often. */
const GLANCE_MS = 20
/** Of so many commits, memory is looked at after one. */
const COMMITS_PER_GLANCE = 4

/**
 * Carries a random history out in Postgres and in a model, and compares them with the subject on the way and at the
 * end. Stops at the first mismatch. The same seed and steps give the same history.
 */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { databaseUrl, leaveOut = [], recordWith, openSubject } = options
  const small = leaveOut.includes('NaN and the infinities') ? finiteTables : simulatedTables
  const tables = options.faults === undefined ? small : [...small, crowdedTable]
  const model = new Model(tables)
  await using writers = await Writers.connect(databaseUrl, WRITERS)
  await writers.createTables(tables)
  await using injector = await openInjector(options, tables, writers)
  await using subject = await openSubject({ databaseUrl: injector?.url ?? databaseUrl, tables })
  await using recorder =
    recordWith === undefined
      ? undefined
      : await ChangeRecorder.open({ databaseUrl, tables, decoder: recordWith })
  return await carryOutAll(options, { tables, model, writers, subject, recorder, injector })
}

async function openInjector(
  { databaseUrl, seed, faults }: SimulationOptions,
  tables: readonly SimulatedTable[],
  writers: Writers,
): Promise<Injector | undefined> {
  if (faults === undefined) return undefined
  const random = new Random(seed).fork(FAULTS)
  const reconnect = (): Promise<void> => writers.reconnect()
  return Injector.open({ server: faults.server, databaseUrl, tables, random, reconnect })
}

/** Carries the history out to its end, or to the first mismatch. */
async function carryOutAll(options: SimulationOptions, actors: Actors): Promise<SimulationResult> {
  const { seed, steps, faults, leaveOut = [] } = options
  const { tables, model, subject, recorder, injector } = actors
  const random = new Random(seed)
  const hash = new HistoryHash()
  using checker = new Checker(model, subject, random.fork(CHECKS))
  const stage: Stage = { ...actors, checker, feedBehind: { times: 0, looks: 0 } }
  const history = {
    random,
    tables,
    writers: WRITERS,
    steps,
    model,
    twoPhase: true,
    truncates: !leaveOut.includes('TRUNCATE'),
    faults: faults?.names ?? [],
  }

  let mismatch: Mismatch | undefined
  for (const operation of generateHistory(history)) {
    hash.add(operation)
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
    comparisons: checker.comparisons,
    comparisonsBy: checker.comparisonsBy,
    refused: checker.refused,
    feedBehind: stage.feedBehind,
    faults: injector?.counts ?? {},
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
  readonly injector: Injector | undefined
}

interface Stage extends Actors {
  readonly checker: Checker
  readonly feedBehind: FeedBehind
}

interface FeedBehind {
  times: number
  looks: number
}

async function carryOut(operation: Operation, stage: Stage): Promise<Difference | undefined> {
  const { model, writers, checker, injector } = stage
  // Until it has found out, memory can't know better.
  if (operation.kind === 'look') return injector?.isDoubtful === true ? undefined : checker.look()
  if (operation.kind === 'barrier') return reachBarrier(stage)
  if (operation.kind === 'fault') {
    await injector!.begin(operation.fault)
    return glance(stage)
  }
  const before = model.transactions
  const expected = model.apply(operation)
  const hasCommitted = model.transactions > before
  // Before Postgres is asked: the subject may show a commit before its writer hears of it.
  if (hasCommitted) checker.committed()
  const actual = await writers.apply(operation)
  if (actual !== expected)
    return { where: 'the model and SQL', table: '', problem: 'number of rows touched', expected, actual }
  return hasCommitted && model.transactions % COMMITS_PER_GLANCE === 0 ? glance(stage) : undefined
}

/** Where things go wrong, memory is looked at in between as well: that is when it shows what it should not. */
function glance({ checker, injector }: Stage): Difference | undefined {
  return injector === undefined || injector.isDoubtful ? undefined : checker.glance()
}

/** Nothing goes wrong any more, and everything has to agree. */
async function reachBarrier(stage: Stage): Promise<Difference | undefined> {
  const { tables, writers, subject, checker, injector, feedBehind } = stage
  await injector?.end()
  const selected = await writers.selectAll(tables)
  const deadline = performance.now() + RIGHT_AGAIN_MS
  for (let looksBehind = 0; ; ) {
    const onTheWay = await catchUp(stage)
    if (onTheWay !== undefined) return onTheWay
    const isLate = performance.now() >= deadline
    let isBeingTold = false
    try {
      const difference = checker.barrier(selected)
      if (difference === undefined) {
        injector?.settled()
        return undefined
      }
      isBeingTold = injector !== undefined && difference.where === TOLD && looksBehind < LOOKS_UNTIL_TOLD
      const isBeingFoundOut = injector?.isDoubtful === true && !isLate
      if (!isBeingTold && !isBeingFoundOut) return difference
    } catch (error) {
      if (isLate || !subject.refuses(error)) throw error
    }
    if (isBeingTold) {
      if (looksBehind++ === 0) feedBehind.times++
      feedBehind.looks++
    }
    await (isBeingTold ? nextTurn() : sleep(LOOK_AGAIN_MS))
  }
}

/** Until the subject has caught up, it is looked at whenever it shows something else: other tables may take the place of those that were lost. */
async function catchUp(stage: Stage): Promise<Difference | undefined> {
  let isOver = false
  const caughtUp = stage.subject.catchUp().finally(() => {
    isOver = true
  })
  let found: Difference | undefined
  // It ends by itself, and is waited for: its refusal is for the caller.
  while (!isOver && found === undefined) {
    found = glance(stage)
    await Promise.race([caughtUp, sleep(GLANCE_MS)])
  }
  await caughtUp
  return found
}
