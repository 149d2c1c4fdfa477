import { expect, test } from 'vitest'
import { Applier } from '../src/apply/applier.js'
import type { BoundRelation } from '../src/apply/binding.js'
import { formatLsn, type Lsn } from '../src/change/lsn.js'
import { liveTable } from '../src/cache/live-table.js'
import { PgoutputDecoder } from '../src/decode/pgoutput.js'
import { FreshnessGate } from '../src/freshness/gate.js'
import { silentLogger } from '../src/observe.js'
import { LocalTable } from '../src/query/local.js'
import { Store } from '../src/store/store.js'
import * as frames from './decode/pgoutput-frames.js'
import { mappingOf, relationOf } from './support/table.js'
import { VirtualRuntime } from './support/virtual-runtime.js'

/**
 * Read this first: one commit on its way through every layer, from the bytes that PostgreSQL sends to the row that a repository gets.
 * No server; each step is what the real cache does.
 */
test('a commit goes from the wire to a reader, who sees all of it or none of it', async () => {
  const runtime = new VirtualRuntime()

  // mapping: what was declared, as the catalogue has it.
  const mapping = mappingOf('users', ['id', 'name'], ['id'])

  // store: rows as bytes, under a number that nobody sees yet; the first load is published at the slot's position.
  const store = new Store({ limitBytes: 2 ** 24, tableLimitBytes: 2 ** 24, hashSeed: 1 })
  const live = liveTable(store, mapping)
  store.begin()
  store.publish(0x100n as Lsn)

  // apply: the one writer, and whoever wants to know how far it is.
  const positions: string[] = []
  const applier = new Applier({
    store,
    tables: [live],
    runtime,
    sliceMs: 5,
    logger: silentLogger,
    onPosition: lsn => positions.push(formatLsn(lsn)),
    onAborted: () => undefined,
  })

  // query: a synchronous read, allowed once it is shown that memory is fresh.
  const gate = new FreshnessGate(runtime, 10_000, 'throw', () => undefined)
  gate.prove(runtime.clock.monotonicMs())
  const users = new LocalTable<{ id: number; name: string }>(live, gate)

  // wire: the payloads of one transaction, as the walsender frames them.
  const payloads = [
    frames.begin(0x180n, 0n, 701),
    frames.relation(mapping.oid, 'public', 'users', 'd', [
      { name: 'id', type: 23, key: true },
      { name: 'name', type: 25 },
    ]),
    frames.insert(mapping.oid, ['1', 'Ada']),
    frames.insert(mapping.oid, ['2', 'Grace']),
    frames.commit(0x180n, 0x200n, 0n),
  ]

  // decode: each payload becomes calls in the words of the standard change.
  const decoder = new PgoutputDecoder<BoundRelation>({
    publication: 'walcache',
    relations: [relationOf(mapping)],
  })
  const seen: (string | undefined)[] = []
  for (const payload of payloads) {
    let delivered = false
    await applier.apply({
      deliver(sink) {
        if (!delivered) decoder.decode(0, 0x200, payload, 0, payload.length, sink)
        delivered = true
        return false
      },
    })
    seen.push(users.get(1)?.name)
  }

  // Nothing until the commit, then everything, at the commit's end.
  expect(seen).toEqual([undefined, undefined, undefined, undefined, 'Ada'])
  expect(positions).toEqual(['0/200'])
  expect([...users]).toEqual([
    { id: 1, name: 'Ada' },
    { id: 2, name: 'Grace' },
  ])
})
