import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

/** Runs a script of the benchmarks in a process of its own, and gives back what it says: the JSON on its last line. */
export function runChild<Result>(script: string, ...parameters: readonly string[]): Promise<Result> {
  return runChildWith({}, script, ...parameters)
}

/** The same, with more in its environment. */
export async function runChildWith<Result>(
  environment: Readonly<Record<string, string>>,
  script: string,
  ...parameters: readonly string[]
): Promise<Result> {
  const child = spawn(process.execPath, [...process.execArgv, script, ...parameters], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  })
  const [said, [status]] = await Promise.all([
    text(child.stdout),
    once(child, 'exit') as Promise<[number | null]>,
  ])
  if (status !== 0) throw new Error(`${script} ${parameters.join(' ')} ended with ${status}.`)
  return JSON.parse(said.trimEnd().split('\n').at(-1)!) as Result
}
