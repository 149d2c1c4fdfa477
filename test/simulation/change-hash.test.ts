import { expect, test } from 'vitest'
import { NOT_SENT, type TupleView } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import { ChangeHash, type HashedTable } from '../../simulation/change-hash.js'
import { simulatedTables } from '../../simulation/tables.js'
import { tupleOf } from '../support/tuple.js'

const [items, tags] = simulatedTables as [(typeof simulatedTables)[0], (typeof simulatedTables)[0]]

/** The hash of what `say` tells of the two tables, and how many changes it counts. */
function hashOf(say: (hash: ChangeHash, items: HashedTable, tags: HashedTable) => void) {
  const hash = new ChangeHash(simulatedTables)
  const announced = [items, tags].map(({ schema, name, columns }, at) =>
    hash.relation({
      oid: at,
      schema,
      name,
      replicaIdentity: 'default',
      columns: columns.map(column => ({ name: column.name, typeOid: 25, typeModifier: -1, isKey: false })),
    }),
  )
  say(hash, announced[0]!, announced[1]!)
  return { digest: hash.digest(), changes: hash.changes }
}

const item = (id: number, title: string): TupleView => tupleOf(String(id), title, '1', null)
const tag = (code: string): TupleView => tupleOf(null, code, 'label')
const at = (position: number): Lsn => BigInt(position) as Lsn

/** An old key as plugins pad it: the other columns are not sent. */
function keyOnly(id: number): TupleView {
  const view = tupleOf(String(id), '', '', '')
  view.kinds.fill(NOT_SENT, 1, 4)
  return view
}

const base = hashOf((hash, of) => {
  hash.begin()
  hash.insert(of, item(1, 'a'))
  hash.insert(of, item(2, 'b'))
  hash.commit(at(100))
})

test('positions, empty transactions and messages do not count', () => {
  const other = hashOf((hash, of) => {
    hash.begin()
    hash.message()
    hash.commit(at(5))
    hash.progress(at(7))
    hash.begin()
    hash.insert(of, item(1, 'a'))
    hash.insert(of, item(2, 'b'))
    hash.commit(at(900))
  })
  expect(other).toEqual(base)
  expect(base.changes).toBe(2)
})

test('the order of rows within a run does not count; that of one key, of tables and of kinds does', () => {
  const inOrder = (...rows: readonly TupleView[]) =>
    hashOf((hash, of) => {
      hash.begin()
      for (const row of rows) hash.update(of, null, false, row)
      hash.commit(at(1))
    }).digest
  expect(inOrder(item(2, 'b'), item(1, 'a'))).toBe(inOrder(item(1, 'a'), item(2, 'b')))
  expect(inOrder(item(1, 'b'), item(1, 'a'))).not.toBe(inOrder(item(1, 'a'), item(1, 'b')))

  const tables = (first: 'items' | 'tags') =>
    hashOf((hash, ofItems, ofTags) => {
      hash.begin()
      if (first === 'items') hash.insert(ofItems, item(1, 'a'))
      hash.insert(ofTags, tag('t'))
      if (first === 'tags') hash.insert(ofItems, item(1, 'a'))
      hash.commit(at(1))
    }).digest
  expect(tables('items')).not.toBe(tables('tags'))
})

test('where commits are counts, and so do values, NULL and what was not sent', () => {
  const two = hashOf((hash, of) => {
    hash.begin()
    hash.insert(of, item(1, 'a'))
    hash.commit(at(1))
    hash.begin()
    hash.insert(of, item(2, 'b'))
    hash.commit(at(2))
  })
  expect(two.digest).not.toBe(base.digest)
  const texts = ['', 'null', '[]', 'é'].map(title => item(1, title))
  const nothing = [tupleOf('1', null, '1', null), keyOnly(1)]
  const hashes = [...texts, ...nothing].map(
    row =>
      hashOf((hash, of) => {
        hash.begin()
        hash.insert(of, row)
        hash.commit(at(1))
      }).digest,
  )
  expect(new Set(hashes).size).toBe(6)
})

test('an old key that is the new one may be sent or not; another one counts', () => {
  const withOld = (old: TupleView | null) =>
    hashOf((hash, of) => {
      hash.begin()
      hash.update(of, old, false, item(1, 'a'))
      hash.commit(at(1))
    }).digest
  expect(withOld(keyOnly(1))).toBe(withOld(null))
  expect(withOld(keyOnly(2))).not.toBe(withOld(null))
})

test('a TRUNCATE of two tables is as good as one of each', () => {
  const once = hashOf((hash, ofItems, ofTags) => {
    hash.begin()
    hash.truncate([ofTags, ofItems])
    hash.commit(at(1))
  })
  const each = hashOf((hash, ofItems, ofTags) => {
    hash.begin()
    hash.truncate([ofItems])
    hash.truncate([ofTags])
    hash.commit(at(1))
  })
  expect(once).toEqual(each)
  expect(once.changes).toBe(2)
})
