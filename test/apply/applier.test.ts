import { describe, expect, test } from 'vitest'
import type { BoundRelation } from '../../src/apply/binding.js'
import { liveTable } from '../../src/cache/live-table.js'
import { UNCHANGED } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import { DivergedError, MemoryLimitError } from '../../src/errors.js'
import { lookUp } from '../../src/query/live.js'
import { type ScriptChange, ScriptSource } from '../../src/source/script-source.js'
import { Store } from '../../src/store/store.js'
import { applierOf, applyAll } from '../support/applier.js'
import { mappingOf, relationOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'
import { shows } from '../support/shows.js'

const mapping = mappingOf('users', ['id', 'name'], ['id'])
const users = relationOf(mapping)
const others = relationOf(mappingOf('others', ['id', 'name'], ['id'], 99))

const insert = (id: number, name: string, relation = users): ScriptChange => ({
  kind: 'insert',
  relation,
  row: { id: String(id), name },
})
const update = (id: number, name: string): ScriptChange => ({
  kind: 'update',
  relation: users,
  old: null,
  row: { id: String(id), name },
})

function open(tableLimitBytes = 2 ** 24) {
  const runtime = new VirtualRuntime()
  const store = new Store({ limitBytes: 2 ** 26, tableLimitBytes, hashSeed: 1 })
  const live = liveTable(store, mapping)
  const positions: { lsn: Lsn; changed: boolean }[] = []
  let aborted = 0
  let silent = 0
  const applier = applierOf(store, [live], {
    runtime,
    onPosition: (lsn, changed) => positions.push({ lsn, changed }),
    onSilentCommit: () => silent++,
    onAborted: () => aborted++,
  })
  return {
    store,
    live,
    applier,
    positions,
    runtime,
    aborted: () => aborted,
    silent: () => silent,
    get: (id: number) => (lookUp(live, id, store.visible) as { name: string } | undefined)?.name,
  }
}

describe('Applier', () => {
  test('makes each transaction visible at its commit, and moves the position past those that change nothing here', async () => {
    const { applier, positions, get, store, silent } = open()
    const source = new ScriptSource<BoundRelation>([
      { changes: [insert(1, 'a'), insert(2, 'b')] },
      { changes: [insert(7, 'elsewhere', others)] },
      { changes: [update(1, 'c')] },
    ])
    await applyAll(applier, source)
    expect([get(1), get(2), get(7)]).toEqual(['c', 'b', undefined])
    expect(positions.map(({ changed }) => changed)).toEqual([true, false, true])
    expect(silent()).toBe(1)
    expect(store.position).toBe(source.lsn)
    expect(store.visible).toBe(2)
  })

  test('takes a transaction back that was cut off, and applies it again from its beginning', async () => {
    shows('I17')
    const { applier, get, store, aborted } = open()
    await applyAll(applier, new ScriptSource<BoundRelation>([{ changes: [insert(1, 'old')] }]))
    applier.begin(7)
    const bound = applier.relation(users)!
    for (let id = 2; id < 3000; id++) applier.insert(bound, tupleOf(String(id), 'pending'))
    expect(store.writing).toBe(true)
    await applier.cutOff()
    expect(aborted()).toBe(1)
    expect(store.writing).toBe(false)
    expect([get(1), get(2)]).toEqual(['old', undefined])
    await applyAll(
      applier,
      new ScriptSource<BoundRelation>([{ changes: [insert(2, 'again')] }], 0x1000n as Lsn),
    )
    expect([get(1), get(2)]).toEqual(['old', 'again'])
  })

  test('skips a transaction that is delivered once more', async () => {
    shows('C3')
    const { applier, get, store } = open()
    await applyAll(
      applier,
      new ScriptSource<BoundRelation>([{ changes: [insert(1, 'a')], endLsn: 0x500n as Lsn }]),
    )
    await applyAll(
      applier,
      new ScriptSource<BoundRelation>([
        { changes: [update(1, 'of the past')], endLsn: 0x500n as Lsn },
        { changes: [update(1, 'b')], endLsn: 0x600n as Lsn },
      ]),
    )
    expect(get(1)).toBe('b')
    expect(store.visible).toBe(2)
  })

  test('ends the stream when a change contradicts memory', async () => {
    const { applier } = open()
    const unknown = new ScriptSource<BoundRelation>([{ changes: [update(1, 'nobody')] }])
    await expect(applyAll(applier, unknown)).rejects.toThrow(DivergedError)
    const toast = new ScriptSource<BoundRelation>([
      { changes: [{ kind: 'insert', relation: users, row: { id: '1', name: UNCHANGED } }] },
    ])
    await expect(applyAll(open().applier, toast)).rejects.toThrow(DivergedError)
  })

  test('ends the stream when a mapped column is gone, has another type, or the key is no longer sent', async () => {
    const [id, name] = users.columns
    for (const columns of [[id!], [id!, { ...name!, typeOid: 20 }], [{ ...id!, isKey: false }, name!]]) {
      const relation = { ...users, columns }
      const source = new ScriptSource<BoundRelation>([{ changes: [insert(1, 'a', relation)] }])
      await expect(applyAll(open().applier, source)).rejects.toThrow(DivergedError)
    }
  })

  test('gives up a table that outgrows its memory, and goes on with the position', async () => {
    const { applier, live, positions } = open(2 ** 20)
    const changes = Array.from({ length: 400 }, (_, id) => insert(id, 'x'.repeat(10_000)))
    await applyAll(
      applier,
      new ScriptSource<BoundRelation>([{ changes }, { changes: [insert(1, 'ignored')] }]),
    )
    expect(live.table.failed).toBeInstanceOf(MemoryLimitError)
    expect(live.table.bytes).toBe(0)
    expect(positions).toHaveLength(2)
    // Both are noted: who asks PostgreSQL for its rows now must not be shown less.
    expect(live.store.recent.size).toBe(2)
  })
})
