import assert from 'node:assert/strict'
import { test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { SlotError } from '../../src/errors.js'
import { silentLogger } from '../../src/observe.js'
import type { ReplicationConnection } from '../../src/runtime.js'
import { SlotStream } from '../../src/source/slot-stream.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'
import { decoder } from './reading.js'

/** A connection whose server refuses to stream, in these words. */
function refusing(code: string): ReplicationConnection {
  return {
    pid: 1,
    received: 0,
    query: () => Promise.resolve([]),
    start: () => Promise.reject(Object.assign(new Error('no'), { code, severity: 'ERROR' })),
    sendStatus: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    closed: new Promise(() => undefined),
    close: () => Promise.resolve(),
  }
}

async function streamed(code: string): Promise<unknown> {
  const stream = new SlotStream(
    refusing(code),
    new VirtualRuntime(),
    { decoder: decoder(), logger: silentLogger },
    {
      slot: 'walcache_1',
      start: { lsn: 8n as Lsn, systemId: '1', timeline: 1 },
      walSenderTimeoutMs: 60_000,
      isServerBusy: () => Promise.resolve(false),
    },
  )
  try {
    for await (const _ of stream.batches(new AbortController().signal)) assert.fail('nothing is streamed')
  } catch (error) {
    return error
  }
  return undefined
}

test('a slot that was dropped after it was looked at is a loss that loading anew mends', async () => {
  const error = await streamed('42704')
  assert(error instanceof SlotError)
  assert.deepEqual([error.slot, error.transient], ['walcache_1', true])
})

test('what else the server refuses is passed on', async () => {
  assert(!((await streamed('55000')) instanceof SlotError))
})
