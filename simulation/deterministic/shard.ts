/** A process that runs a part of the histories of another one: it is told which, and tells what came of them. */
import type { DeterministicOptions } from './scenario.js'
import { runShard, type ShardMessage } from './shards.js'

/** How often it says how far it is. */
const PROGRESS_MS = 5_000

function send(message: ShardMessage): void {
  process.send!(message)
}

process.once('message', (options: DeterministicOptions) => {
  let toldMs = performance.now()
  const onProgress = (line: string): void => {
    if (performance.now() - toldMs < PROGRESS_MS) return
    toldMs = performance.now()
    send({ line })
  }
  runShard({ ...options, onProgress })
    .then(result => send({ result }))
    .finally(() => process.disconnect())
    .catch((error: unknown) => {
      console.error(error)
      process.exitCode = 1
    })
})
