import { beforeEach, expect, test } from 'vitest'
import { Comparer } from '../../src/audit/comparer.js'
import { liveTable } from '../../src/cache/live-table.js'
import { formatLsn, type Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import type { QueryConnection, TextRow } from '../../src/runtime.js'
import { Store } from '../../src/store/store.js'
import { applierOf } from '../support/applier.js'
import { mappingOf, relationOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

const mapping = mappingOf('users', ['id', 'name'], ['id'])
const signal = new AbortController().signal

/** A store, its writer, and a server that answers what the test says. */
class Given {
  readonly runtime = new VirtualRuntime()
  readonly store = new Store({ limitBytes: 2 ** 24, tableLimitBytes: 2 ** 24, hashSeed: 1 })
  readonly live = liveTable(this.store, mapping)
  readonly applier = applierOf(this.store, [this.live], {
    runtime: this.runtime,
    onPosition: () => this.#moved(),
  })
  readonly bound = this.applier.relation(relationOf(mapping))!
  #lsn = 0x100n
  #waiting: (() => void)[] = []
  /** What happens while the query is under way, and what it sees. */
  answer: () => { snapshot: string; rows: Readonly<Record<string, string>> } = () => ({
    snapshot: '900:900:',
    rows: {},
  })

  constructor() {
    this.store.begin()
    this.store.publish(this.#lsn as Lsn)
  }

  #moved(): void {
    for (const go of this.#waiting.splice(0)) go()
  }

  commit(xid: number, work: () => void): void {
    this.applier.begin(xid)
    work()
    this.#lsn += 0x10n
    this.applier.commit(this.#lsn as Lsn, 0)
  }

  put(id: string, name: string, isNew = false): void {
    const row = tupleOf(id, name)
    if (isNew) this.applier.insert(this.bound, row)
    else this.applier.update(this.bound, null, false, row)
  }

  remove(id: string): void {
    this.applier.delete(this.bound, tupleOf(id, ''), false)
  }

  comparer(slotSnapshot = '1:1:'): Comparer {
    const session = {
      query: (sql: string): Promise<TextRow[]> => {
        expect(sql).toContain('pg_current_snapshot()')
        const { snapshot, rows } = this.answer()
        const common = {
          snapshot,
          recovering: 'f',
          same: 't',
          started: 'then',
          position: formatLsn(this.#lsn as Lsn),
          xmin: null,
        }
        const found = Object.entries(rows).map(([id, name]) => ({ ...common, xmin: '5', c0: id, c1: name }))
        return Promise.resolve(found.length === 0 ? [{ ...common }] : found)
      },
    } as Partial<QueryConnection> as QueryConnection
    return new Comparer({
      store: this.store,
      applier: this.applier,
      log: () => null,
      slotSnapshot: SqlSnapshot.parse(slotSnapshot),
      runtime: this.runtime,
      sliceMs: 5,
      run: work => work(session),
      startedAt: () => 'then',
      normalise: position => position,
      reached: position =>
        this.store.position >= position
          ? Promise.resolve()
          : new Promise(resolve => this.#waiting.push(resolve)),
      nudge: () => undefined,
      look: () => Promise.resolve(true),
      suspect: () => undefined,
      onCompared: () => undefined,
    })
  }
}

let given: Given
beforeEach(() => {
  given = new Given()
  given.commit(700, () => {
    given.put('1', 'Ada', true)
    given.put('2', 'Grace', true)
  })
})

async function compared(comparer = given.comparer()): Promise<object> {
  const keys = ['1', '2', '3'].map(id => ({ key: Buffer.from(`\x01${id}`), row: null }))
  const { excluded, mismatches, ...counts } = await comparer.compare(
    given.live,
    { kind: 'keys', keys },
    signal,
  )
  return {
    ...counts,
    excluded: excluded.map(({ key }) => key.toString('latin1', 1)),
    mismatches: mismatches.map(({ key, kind }) => `${key.toString('latin1', 1)} ${kind}`),
  }
}

test('equal rows, and keys that neither side has, are equal', async () => {
  given.answer = () => ({ snapshot: '900:900:', rows: { 1: 'Ada', 2: 'Grace' } })
  expect(await compared()).toEqual({ audited: 3, absent: 1, excluded: [], mismatches: [] })
})

test('a row that memory lacks, has too many, or has other values in, is told apart', async () => {
  given.answer = () => ({ snapshot: '900:900:', rows: { 1: 'Eve', 3: 'Tim' } })
  expect(await compared()).toEqual({
    audited: 3,
    absent: 0,
    excluded: [],
    mismatches: ['1 different', '2 extra', '3 missing'],
  })
})

test('a decoded row that is not what its record says is found', async () => {
  given.answer = () => ({ snapshot: '900:900:', rows: { 1: 'Ada', 2: 'Grace' } })
  const key = { bytes: Buffer.from('\x011'), length: 2 } as never
  for (let read = 0; read < 3; read++) given.live.table.get(key, 1, given.store.visible)
  expect(given.live.table.decoded.has(1)).toBe(true)
  given.live.table.decoded.set(1, { id: 1, name: 'Eve' })
  expect(await compared()).toMatchObject({ mismatches: ['1 different'] })
})

test('a commit that comes meanwhile, and that the query did not see, leaves its keys out', async () => {
  given.answer = () => {
    given.commit(800, () => given.put('1', 'Eve'))
    return { snapshot: '800:801:800', rows: { 1: 'Ada', 2: 'Grace' } }
  }
  expect(await compared()).toEqual({ audited: 2, absent: 1, excluded: ['1'], mismatches: [] })
})

test('of a row that a commit has moved, both keys are left out', async () => {
  given.answer = () => {
    given.commit(800, () => given.applier.update(given.bound, tupleOf('1', ''), false, tupleOf('3', 'Ada')))
    return { snapshot: '800:801:800', rows: { 1: 'Ada', 2: 'Grace' } }
  }
  expect(await compared()).toEqual({ audited: 1, absent: 0, excluded: ['1', '3'], mismatches: [] })
})

test('a commit that the query saw is waited for, and its keys are compared', async () => {
  given.answer = () => {
    void Promise.resolve().then(() => given.commit(800, () => given.put('1', 'Eve')))
    return { snapshot: '801:801:', rows: { 1: 'Eve', 2: 'Grace' } }
  }
  expect(await compared()).toEqual({ audited: 3, absent: 1, excluded: [], mismatches: [] })
})

test('a transaction that was in progress when the query was sent, and came to its end unseen, leaves all keys out', async () => {
  given.applier.begin(800)
  given.put('1', 'Eve')
  given.answer = () => {
    given.applier.commit(0x1000n as Lsn, 0)
    return { snapshot: '800:801:800', rows: { 1: 'Ada', 2: 'Grace' } }
  }
  expect(await compared()).toMatchObject({ audited: 0, excluded: ['1', '2', '3'], mismatches: [] })
})

test('TRUNCATE in a commit that the query did not see leaves all keys out', async () => {
  given.answer = () => {
    given.commit(800, () => given.applier.truncate([given.bound]))
    return { snapshot: '800:801:800', rows: { 1: 'Ada', 2: 'Grace' } }
  }
  expect(await compared()).toMatchObject({ audited: 0, excluded: ['1', '2', '3'], mismatches: [] })
})

test('a commit that memory shows and no query does yet, since it waits for a standby, leaves all keys out until one does', async () => {
  given.commit(800, () => given.put('1', 'Eve'))
  const comparer = given.comparer()
  given.answer = () => ({ snapshot: '800:801:800', rows: { 1: 'Ada', 2: 'Grace' } })
  expect(await compared(comparer)).toMatchObject({ audited: 0, excluded: ['1', '2', '3'], mismatches: [] })
  given.answer = () => ({ snapshot: '801:801:', rows: { 1: 'Eve', 2: 'Grace' } })
  expect(await compared(comparer)).toMatchObject({ audited: 3, excluded: [], mismatches: [] })
})

test('nothing is compared until queries see all that was loaded', async () => {
  const comparer = given.comparer('750:751:')
  given.answer = () => ({ snapshot: '750:752:750', rows: { 1: 'Eve' } })
  expect(await compared(comparer)).toMatchObject({ audited: 0, mismatches: [] })
  given.answer = () => ({ snapshot: '752:752:', rows: { 1: 'Ada', 2: 'Grace' } })
  expect(await compared(comparer)).toMatchObject({ audited: 3, mismatches: [] })
})

test('what differs once and not a second time is no mismatch', async () => {
  let asked = 0
  given.answer = () => ({ snapshot: '900:900:', rows: { 1: ++asked === 1 ? 'Eve' : 'Ada', 2: 'Grace' } })
  expect(await compared()).toMatchObject({ audited: 3, mismatches: [] })
  expect(asked).toBe(2)
})
