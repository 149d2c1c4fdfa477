import { expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { FreshnessGate } from '../../src/freshness/gate.js'
import { type Pinned, ReadScope, type ScopeContext } from '../../src/query/scope.js'
import type { ReadOptions, Snapshot } from '../../src/query/types.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

/** A commit that is kept readable. */
function snapshotAt(lsn: bigint): Snapshot {
  return { lsn: lsn as Lsn, position: `token of ${lsn}`, close: () => undefined } as unknown as Snapshot
}

interface Stage {
  readonly runtime: VirtualRuntime
  readonly gate: FreshnessGate
  /** Answers the scope's requests for a newer commit, by their order. */
  readonly pins: ((pinned: Pinned | null) => void)[]
  readonly wanted: ReadOptions[]
  readonly scope: ReadScope
}

async function stage(maxStalenessMs = 10_000): Promise<Stage> {
  const runtime = new VirtualRuntime()
  const gate = new FreshnessGate(runtime, maxStalenessMs, 'throw', () => undefined)
  gate.prove(runtime.clock.monotonicMs())
  const pins: ((pinned: Pinned | null) => void)[] = []
  const wanted: ReadOptions[] = []
  const context: ScopeContext = {
    gate,
    onUnknown: 'database',
    pin: options => {
      wanted.push(options)
      return new Promise(resolve => pins.push(resolve))
    },
    covers: async () => false,
    token: async () => 'token of the server',
  }
  const opening = ReadScope.open(context, {}, undefined)
  pins.shift()!({ snapshot: snapshotAt(1n), provenMs: gate.provenMs })
  wanted.length = 0
  return { runtime, gate, pins, wanted, scope: await opening }
}

test('a request whose reads move it forward at the same time stays at the newest commit', async () => {
  const { scope, pins, gate } = await stage()
  const slow = scope.at({ after: 'one' }, {})
  const quick = scope.at({ after: 'another' }, {})
  while (pins.length < 2) await Promise.resolve()
  pins[1]!({ snapshot: snapshotAt(3n), provenMs: gate.provenMs })
  expect((await quick)?.lsn).toBe(3n)
  pins[0]!({ snapshot: snapshotAt(2n), provenMs: gate.provenMs })
  expect((await slow)?.lsn).toBe(3n)
  expect(scope.snapshot?.lsn).toBe(3n)
})

test('a request that has gone over to another history stays there, although its positions begin lower', async () => {
  const { scope, pins, gate } = await stage()
  const read = scope.at({ after: 'one' }, {})
  while (pins.length < 1) await Promise.resolve()
  pins[0]!({ snapshot: snapshotAt(0n), provenMs: gate.provenMs + 1 })
  expect((await read)?.lsn).toBe(0n)
})

test('a commit of a request is as old as it was when it was pinned, also once memory is in doubt', async () => {
  const { runtime, scope, pins, gate } = await stage()
  await runtime.advance(100)
  expect((await scope.at({ maxStaleness: 100 }, {}))?.lsn).toBe(1n)
  gate.doubt()
  const read = scope.at({ maxStaleness: 99 }, {})
  while (pins.length < 1) await Promise.resolve()
  pins[0]!(null)
  expect(await read).toBeNull()
})

test('a table’s own bound holds within a request, unless the request or the read says another', async () => {
  const { runtime, scope, pins, wanted } = await stage()
  const table = { maxStaleness: 50, onStale: 'throw' } as const
  await runtime.advance(51)
  expect((await scope.at({ maxStaleness: 60 }, table))?.lsn).toBe(1n)
  expect((await scope.at({}, { maxStaleness: 20_000, onStale: 'throw' }))?.lsn).toBe(1n)
  const read = scope.at({}, table)
  while (pins.length < 1) await Promise.resolve()
  expect(wanted).toEqual([table])
  pins[0]!({ snapshot: snapshotAt(2n), provenMs: runtime.clock.monotonicMs() })
  expect((await read)?.lsn).toBe(2n)
})

test('a request’s token is its commit’s, or the server’s once that was read', async () => {
  const { scope } = await stage()
  expect(await scope.token()).toBe('token of 1')
  scope.databaseWasRead()
  expect(await scope.token()).toBe('token of the server')
})
