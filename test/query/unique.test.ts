import { beforeEach, describe, expect, test } from 'vitest'
import { liveTable } from '../../src/cache/live-table.js'
import type { Lsn } from '../../src/change/lsn.js'
import { KeyError, QueryError } from '../../src/errors.js'
import type { MappedColumn, TableMapping } from '../../src/mapping/mapping.js'
import { buildIndex } from '../../src/query/build-index.js'
import { exists, type LiveTable, lookUp } from '../../src/query/live.js'
import { hashBytes } from '../../src/sql/hash-bytes.js'
import { FEW_ROWS_MAX } from '../../src/store/index/hash-entries.js'
import { Store } from '../../src/store/store.js'
import { Random } from '../../simulation/random.js'
import { seed } from '../support/seed.js'
import { mappingOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

const INT4 = 23
const TEXT_OID = 25

/** Rows are id, email, team and badge; the email is unique, and so is the badge within its team. */
type Row = readonly [id: string, email: string | null, team: string, badge: string]

let store: Store
let live: LiveTable
let lsn = 0n

beforeEach(() => {
  open([[1], [3, 2]])
})

function open(indexes: TableMapping['indexes']): void {
  const plain = mappingOf('people', ['id', 'email', 'team', 'badge'], ['id'])
  const types = [INT4, TEXT_OID, INT4, TEXT_OID]
  const mapping: TableMapping = {
    ...plain,
    indexes,
    uniqueKeys: [[0], [1], [2, 3]],
    columns: plain.columns.map(
      (column, i): MappedColumn => ({
        ...column,
        typeOid: types[i]!,
        baseTypeOid: types[i]!,
        parse: types[i] === INT4 ? Number : text => text,
      }),
    ),
  }
  store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 26, hashSeed: 1 })
  live = liveTable(store, mapping)
}

const order = (): Int32Array => live.table.format.order(column => column)

function commit(write: (seq: number) => void): void {
  write(store.begin())
  store.publish(++lsn as Lsn)
}

function insert(...rows: Row[]): void {
  commit(seq => {
    for (const row of rows) live.table.insert(tupleOf(...row), order(), seq)
  })
}

const settle = (): void => {
  while (store.maintain(1_000)) continue
}

const object = ([id, email, team, badge]: Row): object => ({
  id: Number(id),
  email,
  team: Number(team),
  badge,
})

/** Two texts that are hashed alike, which are there among some hundred thousand. */
function sameHash(hashSeed: number): [string, string] {
  const texts = new Map<number, string>()
  for (let i = 0; ; i++) {
    const text = `text ${i}`
    const bytes = Buffer.from(text)
    const hash = hashBytes(bytes, 0, bytes.length, hashSeed)
    const other = texts.get(hash)
    if (other !== undefined) return [other, text]
    texts.set(hash, text)
  }
}

describe('a look-up by a unique key', () => {
  test('finds the row that a reader of each state sees, whatever is written, cut off, pruned and pinned', () => {
    const random = new Random(seed)
    let model = new Map<string, Row>()
    const pins: { at: number; release: () => void; model: Map<string, Row> }[] = []
    const expectSame = (at: number, rows: Map<string, Row>): void => {
      const all = [...rows.values()]
      for (let i = 0; i < 12; i++) {
        const ofEmail = all.find(([, email]) => email === `e${i}`)
        expect(lookUp(live, { email: `e${i}` }, at)).toEqual(ofEmail && object(ofEmail))
        expect(exists(live, { email: `e${i}` }, at)).toBe(ofEmail !== undefined)
        const ofBadge = all.find(([, , team, badge]) => team === `${i % 3}` && badge === `b${i}`)
        const key = i % 2 === 0 ? { team: i % 3, badge: `b${i}` } : { badge: `b${i}`, team: i % 3 }
        expect(lookUp(live, key, at)).toEqual(ofBadge && object(ofBadge))
      }
    }
    for (let step = 0; step < 400; step++) {
      const next = new Map(model)
      const seq = store.begin()
      for (let left = random.between(1, 4); left > 0; left--) {
        const id = `${random.below(8)}`
        const before = next.get(id)
        const n = random.below(12)
        const email = random.chance(0.2) ? null : `e${n}`
        const row: Row =
          random.chance(0.3) && before !== undefined ? before : [id, email, `${n % 3}`, `b${n}`]
        // What the unique indexes would refuse.
        const isTaken = [...next.values()].some(
          other => other[0] !== id && ((email !== null && other[1] === row[1]) || other[3] === row[3]),
        )
        if (isTaken) continue
        if (before === undefined) live.table.insert(tupleOf(...row), order(), seq)
        else if (random.chance(0.25)) {
          live.table.remove(tupleOf(...before), order(), seq)
          next.delete(id)
          continue
        } else live.table.update(null, false, tupleOf(...row), order(), seq)
        next.set(id, row)
      }
      expectSame(store.visible, model)
      if (random.chance(0.15)) while (store.abort(2)) continue
      else {
        store.publish(++lsn as Lsn)
        model = next
      }
      if (random.chance(0.2)) {
        const snapshot = store.snapshot()
        pins.push({ at: snapshot.seq, release: () => snapshot.release(), model })
      }
      if (pins.length > 3) pins.splice(random.below(3), 1)[0]!.release()
      if (random.chance(0.4)) settle()
      expectSame(store.visible, model)
      for (const pin of pins) expectSame(pin.at, pin.model)
    }
  })

  test('is refused where two rows have it, and found again when one of them is gone', () => {
    insert(['1', 'same', '1', 'a'], ['2', 'other', '1', 'b'])
    settle()
    expect(lookUp(live, { email: 'same' }, store.visible)).toMatchObject({ id: 1 })
    insert(['3', 'same', '1', 'c'])
    for (const prepare of [() => undefined, settle]) {
      prepare()
      expect(() => lookUp(live, { email: 'same' }, store.visible)).toThrow(KeyError)
    }
    commit(seq => live.table.remove(tupleOf('1', null, null, null), order(), seq))
    for (const prepare of [() => undefined, settle]) {
      prepare()
      expect(lookUp(live, { email: 'same' }, store.visible)).toMatchObject({ id: 3 })
    }
  })

  test('is refused where so many rows have it that its index keeps them elsewhere', () => {
    insert(['0', 'other', '1', 'x'])
    settle()
    expect(lookUp(live, { email: 'other' }, store.visible)).toMatchObject({ id: 0 })
    insert(...Array.from({ length: FEW_ROWS_MAX + 1 }, (_, i): Row => [`${i + 1}`, 'same', '1', `b${i}`]))
    settle()
    expect(() => lookUp(live, { email: 'same' }, store.visible)).toThrow(KeyError)
  })

  test('is refused for what can be no key, after one that is one', () => {
    insert(['1', 'a', '1', 'a'])
    settle()
    for (let again = 0; again < 2; again++)
      expect(lookUp(live, { email: 'a' }, store.visible)).toMatchObject({ id: 1 })
    for (const email of [null, undefined, { in: ['a'] }, ['a'], Symbol('a')])
      expect(() => lookUp(live, { email }, store.visible)).toThrow(KeyError)
    expect(() => lookUp(live, { email: 7 }, store.visible)).toThrow(QueryError)
    expect(() => lookUp(live, { email: 'a', team: 1 }, store.visible)).toThrow(KeyError)
    expect(lookUp(live, { email: 'a' }, store.visible)).toMatchObject({ id: 1 })
  })

  test('does not take a text for another one of the same hash', () => {
    const [one, other] = sameHash(live.table.indexes.seed)
    insert(['1', one, '1', 'a'])
    settle()
    for (let again = 0; again < 2; again++) {
      expect(lookUp(live, { email: one }, store.visible)).toMatchObject({ id: 1 })
      expect(lookUp(live, { email: other }, store.visible)).toBeUndefined()
    }
    insert(['2', other, '1', 'b'])
    settle()
    expect(lookUp(live, { email: one }, store.visible)).toMatchObject({ id: 1 })
    expect(lookUp(live, { email: other }, store.visible)).toMatchObject({ id: 2 })
  })

  test('goes by an index that is made while the table is read', async () => {
    open([])
    insert(['1', 'a', '1', 'a'], ['2', 'b', '1', 'b'])
    settle()
    expect(lookUp(live, { email: 'b' }, store.visible)).toMatchObject({ id: 2 })
    const runtime = new VirtualRuntime()
    await buildIndex(live, [1], { runtime, sliceMs: 1e6, signal: new AbortController().signal })
    expect(lookUp(live, { email: 'b' }, store.visible)).toMatchObject({ id: 2 })
    commit(seq => live.table.update(null, false, tupleOf('2', 'c', '1', 'b'), order(), seq))
    settle()
    expect(lookUp(live, { email: 'b' }, store.visible)).toBeUndefined()
    expect(lookUp(live, { email: 'c' }, store.visible)).toMatchObject({ id: 2 })
  })
})
