import { beforeEach, describe, expect, test } from 'vitest'
import { liveTable } from '../../src/cache/live-table.js'
import type { Lsn } from '../../src/change/lsn.js'
import { MemoryLimitError, NotReadyError } from '../../src/errors.js'
import { buildIndex } from '../../src/query/build-index.js'
import type { LiveTable } from '../../src/query/live.js'
import { readFindMany } from '../../src/query/query.js'
import type { Runtime } from '../../src/runtime.js'
import { Store } from '../../src/store/store.js'
import { Random } from '../../simulation/random.js'
import { seed } from '../support/seed.js'
import { mappingOf, typed } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'

const INT4 = 23
const TEXT_OID = 25
const ROWS = 2_000
const TEAM = 1
const NAME = 2

let store: Store
let live: LiveTable
let lsn = 0n

beforeEach(() => {
  open(2 ** 26)
})

function open(limitBytes: number): void {
  const mapping = typed(mappingOf('people', ['id', 'team', 'name'], ['id']), [INT4, INT4, TEXT_OID])
  store = new Store({ limitBytes, tableLimitBytes: limitBytes, hashSeed: 1 })
  live = liveTable(store, mapping)
  const seq = store.begin()
  for (let id = 0; id < ROWS; id++) live.table.load(tupleOf(`${id}`, `${id % 40}`, `name ${id % 500}`), seq)
  store.publish(++lsn as Lsn)
}

/** Each look at the clock is another slice's end; `between` is what happens between two of them. */
function sliced(between: () => void): Runtime {
  let nowMs = 0
  return {
    clock: { monotonicMs: () => (nowMs += 10), wallMs: () => 0 },
    timers: {
      after: () => () => undefined,
      yield: async () => between(),
      microtask: () => undefined,
    },
    random: () => 0,
  }
}

const never = new AbortController().signal

const order = (): Int32Array => live.table.format.order(column => column)

function commit(write: (seq: number) => void): void {
  write(store.begin())
  store.publish(++lsn as Lsn)
  while (store.maintain(1_000)) continue
}

/** Beside what one finds who looks at all rows. */
function expectSame(at: number, wheres: readonly Record<string, unknown>[]): void {
  const ask = (query: object): Record<string, unknown>[] =>
    live.finder.findChecked(readFindMany(live.mapping, { ...query, orderBy: { id: 'asc' } }), at) as Record<
      string,
      unknown
    >[]
  const all = ask({})
  for (const where of wheres) {
    const [[property, value]] = Object.entries(where) as [[string, unknown]]
    expect(ask({ where })).toEqual(all.filter(row => String(row[property]) === String(value)))
  }
}

const TEAMS = Array.from({ length: 10 }, (_, i) => ({ team: i * 6 }))
const NAMES = Array.from({ length: 50 }, (_, i) => ({ name: `name ${i * 14}` }))

describe('an index of a running table', () => {
  test('serves every state, whatever was written while it was made, and however that ended', async () => {
    const random = new Random(seed)
    const snapshots = [store.snapshot()]
    let nextId = ROWS
    const runtime = sliced(() => {
      const seq = store.begin()
      for (let i = random.between(1, 20); i > 0; i--) {
        const id = random.below(nextId)
        const row = tupleOf(
          `${id}`,
          random.chance(0.1) ? null : `${random.below(60)}`,
          `name ${random.below(700)}`,
        )
        const isThere = live.finder.findMany({ where: { id } }, seq).length > 0
        if (!isThere) live.table.insert(row, order(), seq)
        else if (random.chance(0.3)) live.table.remove(row, order(), seq)
        else live.table.update(null, false, row, order(), seq)
      }
      live.table.insert(tupleOf(`${nextId++}`, '1', 'name 1'), order(), seq)
      if (random.chance(0.2)) while (store.abort(7)) continue
      else store.publish(++lsn as Lsn)
      if (random.chance(0.3)) snapshots.push(store.snapshot())
      if (snapshots.length > 3) snapshots.splice(random.below(3), 1)[0]!.release()
      while (random.chance(0.7) && store.maintain(50)) continue
    })
    const options = { runtime, sliceMs: 1, signal: never }
    await buildIndex(live, [TEAM], options)
    await buildIndex(live, [NAME], options)
    expect(live.finder.hasIndex([TEAM])).toBe(true)
    for (const at of [store.visible, ...snapshots.map(({ seq: pinned }) => pinned)])
      expectSame(at, [...TEAMS, ...NAMES])
    const explained = live.finder.explain(readFindMany(live.mapping, { where: { team: 3 } }), store.visible)
    expect(explained, `SEED=${seed}`).toMatchObject({ plan: 'index', index: ['team'] })
  })

  test('is used by queries whose shape was met before, and only once it is whole', async () => {
    const query = readFindMany(live.mapping, { where: { team: 3 } })
    const plan = (): unknown => live.finder.explain(query, store.visible).plan
    const count = (): number => live.finder.count({ where: { team: 3 } }, store.visible)
    const before = count()
    let turns = 0
    await buildIndex(live, [TEAM], {
      runtime: sliced(() => {
        turns++
        expect(plan()).toBe('scan')
        expect(count()).toBe(before)
      }),
      sliceMs: 1,
      signal: never,
    })
    expect(turns).toBeGreaterThan(2)
    expect(plan()).toBe('index')
    expect(count()).toBe(before)
    commit(seq => live.table.insert(tupleOf(`${ROWS}`, '3', 'new'), order(), seq))
    expect(count()).toBe(before + 1)
  })

  test('leaves nothing behind where it is called off, or the table fails meanwhile', async () => {
    const { bytes } = live.table
    const abort = new AbortController()
    const calledOff = buildIndex(live, [TEAM], {
      runtime: sliced(() => abort.abort(new Error('enough'))),
      sliceMs: 1,
      signal: abort.signal,
    })
    await expect(calledOff).rejects.toThrow('enough')
    expect(live.table.bytes).toBe(bytes)
    expect(live.table.indexes.list).toEqual([])
    expect(live.finder.hasIndex([TEAM])).toBe(false)
    const failed = buildIndex(live, [TEAM], {
      runtime: sliced(() => live.table.fail(new NotReadyError())),
      sliceMs: 1,
      signal: never,
    })
    await expect(failed).rejects.toThrow(NotReadyError)
    expect(live.table.bytes).toBe(0)
  })

  test('is refused where it has no room, before it could make a commit fail', async () => {
    const { bytes } = live.table
    open(bytes + 1_000)
    const runtime = sliced(() => undefined)
    await expect(buildIndex(live, [NAME], { runtime, sliceMs: 1, signal: never })).rejects.toThrow(
      MemoryLimitError,
    )
    expect(live.table.failed).toBeNull()
    expect(live.table.indexes.list).toEqual([])
  })

  test('may come in the middle of a TRUNCATE', async () => {
    let isEmptied = false
    await buildIndex(live, [TEAM], {
      runtime: sliced(() => {
        if (isEmptied) return
        isEmptied = true
        commit(seq => {
          live.table.truncate(seq)
          for (let id = 0; id < 50; id++)
            live.table.insert(tupleOf(`${id}`, `${id % 3}`, 'after'), order(), seq)
        })
      }),
      sliceMs: 1,
      signal: never,
    })
    expectSame(store.visible, [{ team: 0 }, { team: 1 }, { team: 2 }, { team: 3 }])
  })
})
