import type { FaultName } from './faults.js'
import { type HistoryOptions, type HistoryResult, runHistory } from './history.js'
import { MismatchError } from './oracle.js'
import type { ScriptTransaction, Step, WriterScript } from './script.js'

/** Runs of a failing history, each with less of it, until the smallest one found is good enough. */
export const SHRINK_ATTEMPTS_MAX = 400
/** The fewer steps there are, the more the same ones meet in another order: so a part is tried with so many orders. */
const ORDERS = 3

/** What is left of a history: steps by their numbers in it, faults by their names, and another order of what happens at the same time. */
export interface Part {
  readonly steps: readonly number[]
  readonly faults: readonly FaultName[]
  readonly salt: number
  /** Whether it is then made up to what every history has: that may be what fails. */
  readonly isMadeUp: boolean
}

export interface Shrunk {
  readonly part: Part
  readonly options: HistoryOptions
  readonly attempts: number
  /** How many steps the whole history had. */
  readonly stepsOfAll: number
}

/** The history that is left. */
export function partOf(options: HistoryOptions, { steps, faults, salt, isMadeUp }: Part): HistoryOptions {
  const kept = new Set(steps)
  const wanted = new Set(faults)
  let number = 0
  const reduced = (transaction: ScriptTransaction): ScriptTransaction => ({
    ...transaction,
    steps: transaction.steps.filter(() => kept.has(number++)),
  })
  const writers = options.script.writers.map(
    (script): WriterScript => script.map(reduced).filter(each => each.steps.length > 0),
  )
  return {
    ...options,
    isPart: !isMadeUp,
    seed: (options.seed + salt) >>> 0,
    script: { writers },
    chanceFaults: options.chanceFaults.filter(name => wanted.has(name)),
    timedFaults: options.timedFaults.filter(name => wanted.has(name)),
  }
}

/** Takes away what a failure does not need: delta debugging over its steps, and over its faults. */
export async function shrink(
  options: HistoryOptions,
  failure: Error,
  onProgress: (line: string) => void = () => undefined,
): Promise<Shrunk> {
  const stepsOfAll = options.script.writers.flat().reduce((sum, { steps }) => sum + steps.length, 0)
  let part: Part = {
    steps: Array.from({ length: stepsOfAll }, (_, number) => number),
    faults: [...options.chanceFaults, ...options.timedFaults],
    salt: 0,
    isMadeUp: false,
  }
  let attempts = 0
  const fails = async (candidate: Part): Promise<boolean> => {
    for (let order = 0; order < ORDERS && attempts < SHRINK_ATTEMPTS_MAX; order++) {
      attempts++
      const tried = { ...candidate, salt: candidate.salt + order }
      const result = await runHistory(partOf(options, tried))
      if (!isSameKind(result, failure)) continue
      part = tried
      onProgress(`${part.steps.length} operations, ${part.faults.length} faults after ${attempts} attempts`)
      return true
    }
    return false
  }
  if ((await fails(part)) || (await fails({ ...part, isMadeUp: true }))) {
    await minimise(part.faults, faults => fails({ ...part, faults }))
    await minimise(part.steps, steps => fails({ ...part, steps }))
    await minimise(part.faults, faults => fails({ ...part, faults }))
  }
  return { part, options: partOf(options, part), attempts, stepsOfAll }
}

/** What the cache has done wrong may show itself in many ways; what is wrong with the run is something else. */
function isSameKind({ failure }: HistoryResult, wanted: Error): boolean {
  if (failure === undefined) return false
  return wanted instanceof MismatchError ? failure instanceof MismatchError : failure.name === wanted.name
}

/** Ever smaller parts are left out, as long as it still fails: ddmin. */
async function minimise<T>(
  items: readonly T[],
  fails: (kept: readonly T[]) => Promise<boolean>,
): Promise<void> {
  if (items.length === 0 || (await fails([]))) return
  let kept = items
  for (let size = Math.ceil(kept.length / 2); size >= 1; ) {
    let wasReduced = false
    for (let at = 0; at < kept.length; ) {
      const rest = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (rest.length > 0 && (await fails(rest))) {
        kept = rest
        wasReduced = true
      } else at += size
    }
    // Of one at a time, until none can be spared.
    if (size > 1) size = Math.ceil(size / 2)
    else if (!wasReduced) break
  }
}

/** A history's steps, for people: a line for each transaction. */
export function describe({ script: { writers } }: HistoryOptions): string[] {
  return writers.flatMap((script, writer) =>
    script.map(({ steps, end, isSynchronous, limboMs }) => {
      const how = `${isSynchronous ? '' : 'asynchronous '}${end}${limboMs > 0 ? `, in limbo for ${limboMs} ms` : ''}`
      return `writer ${writer}: ${steps.map(textOfStep).join('; ')}; ${how}`
    }),
  )
}

function textOfStep(step: Step): string {
  switch (step.kind) {
    case 'insert':
      return `insert ${step.table.name} (${step.texts.map(short).join(', ')})`
    case 'update':
      return `update ${step.table.name} ${keyText(step.key)} set ${Object.entries(step.set)
        .map(([at, text]) => `${step.table.columns[Number(at)]!.name} = ${short(text)}`)
        .join(', ')}`
    case 'delete':
      return `delete ${step.table.name} ${keyText(step.key)}`
    case 'truncate':
      return `truncate ${step.table.name}`
    case 'swap':
      return `swap ${step.table.name} ${step.keys.map(keyText).join(' and ')}`
    case 'transfer':
      return `transfer ${step.amount} from ${step.from.name} ${step.keys[0]} to ${step.to.name} ${step.keys[1]}`
    case 'savepoint':
    case 'rollback to':
    case 'release':
    case 'message':
    case 'empty':
      return step.kind
  }
}

const TEXT_SHOWN = 12

function short(text: string | null): string {
  if (text === null) return 'null'
  return text.length <= TEXT_SHOWN ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, TEXT_SHOWN))}...`
}

function keyText(key: string): string {
  return key.replaceAll('\u001f', '/')
}
