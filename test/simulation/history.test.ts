import { describe, expect, test } from 'vitest'
import { generateHistory } from '../../simulation/history.js'
import { Model } from '../../simulation/model.js'
import { HistoryHash, type Operation, operationText } from '../../simulation/operation.js'
import { Random } from '../../simulation/random.js'
import { crowdedTable, simulatedTables } from '../../simulation/tables.js'

function historyOf(seed: number, steps: number, tables = simulatedTables) {
  const model = new Model(tables)
  const hash = new HistoryHash()
  const operations: Operation[] = []
  const options = {
    random: new Random(seed),
    tables,
    writers: 4,
    steps,
    model,
    twoPhase: true,
    truncates: true,
    faults: [],
  }
  for (const operation of generateHistory(options)) {
    model.apply(operation)
    hash.add(operation)
    operations.push(operation)
  }
  return { operations, model, hash: hash.digest() }
}

describe('a history', () => {
  const { operations, hash } = historyOf(1, 600)

  test('is the same for the same seed, and another for another', () => {
    expect(historyOf(1, 600).hash).toBe(hash)
    expect(historyOf(2, 600).hash).not.toBe(hash)
  })

  test('begins as many transactions as it has steps, and ends each of them', () => {
    const count = (...kinds: string[]) => operations.filter(({ kind }) => kinds.includes(kind)).length
    expect(count('begin')).toBe(600)
    expect(count('commit', 'commit prepared', 'rollback')).toBe(600)
  })

  test('contains every kind of operation', () => {
    expect(new Set(operations.map(({ kind }) => kind)).size).toBe(14)
  })

  test('has barriers only where no transaction is open, and ends with one', () => {
    const open = new Set<number>()
    for (const operation of operations) {
      if (operation.kind === 'barrier') expect(open.size).toBe(0)
      else if (operation.kind === 'begin') open.add(operation.writer)
      else if (/^(commit|rollback$)/.test(operation.kind))
        open.delete((operation as { writer: number }).writer)
    }
    expect(operations.at(-1)?.kind).toBe('barrier')
  })

  test('has transactions of several writers open at once', () => {
    const open = new Set<number>()
    let most = 0
    for (const operation of operations) {
      if (operation.kind === 'begin') open.add(operation.writer)
      else if (/^(commit|rollback$)/.test(operation.kind))
        open.delete((operation as { writer: number }).writer)
      most = Math.max(most, open.size)
    }
    expect(most).toBe(4)
  })

  test('never lets a transaction touch a row that another open one has touched, nor a table it truncated', () => {
    const touched = new Map<string, number>()
    const truncated = new Map<string, number>()
    for (const operation of operations) {
      if (!('writer' in operation)) continue
      const { writer } = operation
      if (operation.kind === 'truncate') {
        for (const table of operation.tables) truncated.set(table.name, writer)
        for (const [key, other] of touched) expect([key, other]).toEqual([key, writer])
      } else if ('table' in operation) {
        const { table } = operation
        const rows = operation.kind === 'insert' ? operation.rows : operation.keys
        for (const row of [
          ...rows,
          ...(operation.kind === 'update' ? [{ ...rows[0], ...operation.set }] : []),
        ]) {
          const key = `${table.name} ${JSON.stringify(table.key.map(name => row[name]))}`
          expect([key, touched.get(key) ?? writer]).toEqual([key, writer])
          expect(truncated.get(table.name) ?? writer).toBe(writer)
          touched.set(key, writer)
        }
      } else if (/^(commit|rollback$)/.test(operation.kind)) {
        for (const locks of [touched, truncated]) {
          for (const [key, other] of locks) if (other === writer) locks.delete(key)
        }
      }
    }
  })

  test('updates rows beside values that are stored out of line', () => {
    const beside = operations.filter(
      operation =>
        operation.kind === 'update' &&
        operation.table.name === 'items' &&
        !('manual' in operation.set) &&
        operation.keys.length > 0,
    )
    expect(beside.length).toBeGreaterThan(20)
    expect(operations.some(operation => operationText(operation).length > 8000)).toBe(true)
  })
})

test('a table with many rows has them from the first transaction on, and keeps most of them, though statements change many at once', () => {
  const { operations, model } = historyOf(1, 100, [...simulatedTables, crowdedTable])
  const [begin, ...others] = operations
  const commit = others.findIndex(({ kind }) => kind === 'commit')
  const first = others.slice(0, commit)
  expect(begin).toEqual({ kind: 'begin', writer: 0 })
  const rows = first.map(operation => (operation.kind === 'insert' ? operation.rows.length : 0))
  expect(rows.reduce((sum, count) => sum + count)).toBe(crowdedTable.crowd!.firstRows)
  const of = (operation: Operation) => 'table' in operation && operation.table === crowdedTable
  const changed = others
    .slice(commit)
    .filter(of)
    .map(operation => operation.kind === 'update' && operation.keys.length)
  expect(Math.max(...changed.map(Number))).toBeGreaterThan(60)
  expect(model.committed.get(crowdedTable)!.size).toBeGreaterThan(crowdedTable.crowd!.firstRows / 2)
})

test('random numbers are those of sfc32 for the seed, on every machine', () => {
  const random = new Random(42)
  expect([random.uint32(), random.uint32(), random.uint32()]).toMatchInlineSnapshot(`
    [
      1959603763,
      2423114712,
      2466933512,
    ]
  `)
  expect(random.fork(1).uint32()).toBe(new Random(42).fork(1).uint32())
  expect(random.fork(1).uint32()).not.toBe(random.fork(2).uint32())
})

test('a draw below a bound is spread over all of it', () => {
  const random = new Random(7)
  const counts = [0, 0, 0, 0, 0]
  for (let draw = 0; draw < 5000; draw++) counts[random.below(5)]!++
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150)
})
