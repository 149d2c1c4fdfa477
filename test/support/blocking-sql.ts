import { Worker } from 'node:worker_threads'
import { onTestFinished } from 'vitest'

const WORKER = `
  const { workerData, parentPort } = require('node:worker_threads')
  const pg = require('pg')
  const client = new pg.Client({ connectionString: workerData.url })
  const ready = client.connect().then(() => parentPort.postMessage('ready'))
  parentPort.on('message', async sql => {
    if (sql === null) {
      parentPort.close()
      return client.end()
    }
    await ready
    await client.query(sql).then(() => Atomics.store(workerData.done, 0, 1), () => Atomics.store(workerData.done, 0, 2))
    Atomics.notify(workerData.done, 0)
  })`

const PATIENCE_MS = 10_000

/**
 * Runs SQL while this thread stands still: nothing else of the test's process happens meanwhile. So a callback of the cache can have
 * something happen at exactly its moment.
 */
export async function blockingSql(url: string): Promise<(sql: string) => void> {
  const done = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(WORKER, { eval: true, workerData: { url, done } })
  onTestFinished(async () => {
    worker.postMessage(null)
    await new Promise(resolve => worker.once('exit', resolve))
  })
  await new Promise(resolve => worker.once('message', resolve))
  worker.unref()
  return sql => {
    Atomics.store(done, 0, 0)
    worker.postMessage(sql)
    const outcome = Atomics.wait(done, 0, 0, PATIENCE_MS)
    if (outcome === 'timed-out' || Atomics.load(done, 0) !== 1) throw new Error(`This did not work: ${sql}`)
  }
}
