import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { type DeterministicOptions, failureText, runDeterministic } from './scenario.js'
import { type Sums, Totals } from './totals.js'

/** What one process has done of a run. */
export interface ShardResult {
  readonly sums: Sums
  /** What is wrong, for people. */
  readonly failure: string | undefined
}

export type ShardMessage = { readonly line: string } | { readonly result: ShardResult }

/** More would not be faster on the machines that this runs on, and take turns with whatever else they do. */
export const PROCESSES_MAX = 8

/** Runs histories, in several processes that have a part of them each. */
export async function runShards(
  { onProgress = () => undefined, ...options }: DeterministicOptions,
  processes: number,
): Promise<{ totals: Totals; failure: string | undefined }> {
  const totals = new Totals()
  if (processes === 1) {
    const { sums, failure } = await runShard({ ...options, onProgress })
    totals.merge(sums)
    return { totals, failure }
  }
  const children = sharesOf(options, processes).map((share, i) => ({
    child: fork(new URL('./shard.ts', import.meta.url), { serialization: 'advanced' }),
    share,
    name: `process ${i + 1}`,
  }))
  const stopAll = (): void => {
    for (const { child } of children) child.kill()
  }
  try {
    const results = await Promise.all(
      children.map(async ({ child, share, name }) => {
        const result = await resultOf(child, share, line => onProgress(`${name}: ${line}`))
        // One mismatch is enough to look at.
        if (result?.failure !== undefined) stopAll()
        return result
      }),
    )
    let failure: string | undefined
    for (const result of results) {
      if (result === undefined) continue
      totals.merge(result.sums)
      failure ??= result.failure
    }
    if (failure === undefined && results.includes(undefined)) failure = 'A process of the run has died.'
    return { totals, failure }
  } finally {
    stopAll()
  }
}

/** Runs histories in this process. */
export async function runShard(options: DeterministicOptions): Promise<ShardResult> {
  const { totals, failure } = await runDeterministic({ ...options, shrinks: true })
  return { sums: totals.sums, failure: failure && failureText(failure) }
}

function sharesOf(
  { from = 0, histories, ...rest }: DeterministicOptions,
  processes: number,
): DeterministicOptions[] {
  const size = Math.ceil(histories / processes)
  return Array.from({ length: processes }, (_, i) => ({
    ...rest,
    from: from + i * size,
    histories: Math.max(0, Math.min(size, histories - i * size)),
  }))
}

/** What a child process sends at last; undefined if it ends before. */
async function resultOf(
  child: ChildProcess,
  share: DeterministicOptions,
  onLine: (line: string) => void,
): Promise<ShardResult | undefined> {
  let result: ShardResult | undefined
  child.on('message', (message: ShardMessage) => {
    if ('line' in message) onLine(message.line)
    else result = message.result
  })
  child.send(share)
  await once(child, 'exit')
  return result
}
