import { describe, expect, test } from 'vitest'
import { Checker } from '../../simulation/checker.js'
import type { TableView, View } from '../../simulation/compare.js'
import { Model, type State } from '../../simulation/model.js'
import { Random } from '../../simulation/random.js'
import type { Subject } from '../../simulation/subject.js'
import { keyText, type Row, seenRow, type SimulatedTable, simulatedTables } from '../../simulation/tables.js'

const [items, tags] = simulatedTables as [SimulatedTable, SimulatedTable]
const item = (id: number, title = 'a'): Row => ({ id, title, stock: 1, manual: null })
const tag = (code: string): Row => ({ code, label: 'l', manual: null })

/** Shows whatever state it is given, and lies where it is told to. */
class Showing implements Subject {
  lie: (table: SimulatedTable, view: TableView) => TableView = (_, view) => view
  constructor(public state: State) {}
  catchUp = () => Promise.resolve()
  refuses = () => false
  moment = ''
  get now(): View {
    return this.#viewOf(() => this.state)
  }
  get told(): View {
    return this.now
  }
  snapshot() {
    const { state } = this
    return { view: this.#viewOf(() => state), [Symbol.dispose]: () => undefined }
  }
  [Symbol.asyncDispose] = () => Promise.resolve()

  #viewOf(stateNow: () => State): View {
    return table => {
      const rows = stateNow().get(table)!
      const seen = (row: Row | undefined) => (row === undefined ? undefined : seenRow(table, row))
      return this.lie(table, {
        size: rows.size,
        get: key => seen(rows.get(keyText(table, key))),
        rows: () => [...rows.values()].map(row => seenRow(table, row)),
      })
    }
  }
}

/** A model of three commits, of which the last writes to two tables; and the states after each. */
function scene(seed = 1) {
  const model = new Model(simulatedTables)
  const subject = new Showing(model.committed)
  const checker = new Checker(model, subject, new Random(seed))
  const states: State[] = []
  const commit = (...changes: [SimulatedTable, Row][]) => {
    model.apply({ kind: 'begin', writer: 0 })
    for (const [table, row] of changes) model.apply({ kind: 'insert', writer: 0, table, rows: [row] })
    model.apply({ kind: 'commit', writer: 0 })
    checker.committed()
    states.push(model.committed)
  }
  commit([items, item(1)])
  commit([items, item(2)])
  commit([items, item(3)], [tags, tag('x')])
  return { model, subject, checker, states, commit }
}

describe('at a barrier', () => {
  const lies: Record<string, (view: TableView) => TableView> = {
    'a size that is wrong': view => ({ ...view, size: view.size + 1 }),
    'a key that is not found': view => ({
      ...view,
      get: key => (key['id'] === 2 ? undefined : view.get(key)),
    }),
    'a value that is another': view => ({
      ...view,
      get: key => (key['id'] === 2 ? { ...(view.get(key) as object), title: 'b' } : view.get(key)),
    }),
    'a column that is missing': view => ({
      ...view,
      get: key => ({ id: key['id'], title: 'a', stock: 1 }),
    }),
    'an iteration that leaves out a row': view => ({ ...view, rows: () => [...view.rows()].slice(1) }),
    'an iteration that shows a row twice': view => ({
      ...view,
      rows: () => [...view.rows(), ...view.rows()].slice(0, 4),
    }),
    'a row for every key': view => ({ ...view, get: key => view.get(key) ?? { ...item(Number(key['id'])) } }),
  }
  test.each(Object.entries(lies))('%s is seen', (_, lie) => {
    const { subject, states, checker } = scene()
    subject.state = states[2]!
    const truth = subject.now
    expect(checker.barrier(truth)).toBeUndefined()
    subject.lie = (table, view) => (table === items ? lie(view) : view)
    expect(checker.barrier(truth)).toMatchObject({ table: 'public.items' })
  })

  test('changes that leave another state are seen', () => {
    const { subject, states, checker } = scene()
    subject.state = states[2]!
    Object.defineProperty(subject, 'told', { value: new Showing(states[1]!).now })
    expect(checker.barrier(subject.now)).toMatchObject({ where: 'the model and the change feed' })
  })

  test('a SELECT that differs from the model is seen', () => {
    const { subject, states, checker } = scene()
    subject.state = states[2]!
    const selected = new Showing(states[1]!).now
    expect(checker.barrier(selected)).toMatchObject({ where: 'the model and SELECT', problem: 'size' })
  })

  test('a subject that is one commit behind is seen', () => {
    const { subject, states, checker } = scene()
    const ahead = new Showing(states[2]!)
    subject.state = states[1]!
    expect(checker.barrier(ahead.now)).toMatchObject({ where: 'the model and the cache' })
  })
})

describe('on the way', () => {
  test('each state after a commit is right, in their order', () => {
    const { subject, states, checker } = scene()
    for (const state of states) {
      subject.state = state
      expect(checker.look()).toBeUndefined()
    }
  })

  test('a state that goes back is seen', () => {
    const { subject, states, checker } = scene()
    subject.state = states[1]!
    expect(checker.look()).toBeUndefined()
    subject.state = states[0]!
    expect(checker.look()).toMatchObject({ where: expect.stringContaining('after no commit') as unknown })
  })

  test('half of a commit is seen', () => {
    const { subject, states, checker } = scene()
    subject.state = new Map([...states[1]!, [tags, states[2]!.get(tags)!]])
    expect(checker.look()).toMatchObject({ where: expect.stringContaining('after no commit') as unknown })
  })

  test('a kept snapshot that changes is seen', () => {
    const { subject, states, checker, commit } = scene()
    subject.state = states[2]!
    // Every look keeps its snapshot by a toss of the coin.
    for (let look = 0; look < 10; look++) expect(checker.look()).toBeUndefined()
    commit([items, item(4)])
    subject.state = states[3]!
    const kept = states[2]!.get(items)!
    subject.lie = (table, view) =>
      table === items && view.size === kept.size ? { ...view, size: kept.size + 1 } : view
    expect(checker.look()).toMatchObject({
      where: expect.stringContaining('a snapshot kept since') as unknown,
    })
  })
})

describe('at a glance', () => {
  test('what was seen last is not looked at again, and half of a commit is seen', () => {
    const { subject, states, checker } = scene()
    subject.state = states[1]!
    expect(checker.glance()).toBeUndefined()
    subject.state = new Map([...states[1]!, [tags, states[2]!.get(tags)!]])
    expect(checker.glance()).toBeUndefined()
    subject.moment = 'another one'
    expect(checker.glance()).toMatchObject({ where: expect.stringContaining('after no commit') as unknown })
  })

  test('a state that goes back is seen', () => {
    const { subject, states, checker } = scene()
    subject.state = states[2]!
    expect(checker.glance()).toBeUndefined()
    subject.state = states[1]!
    subject.moment = 'another one'
    expect(checker.glance()).toMatchObject({ where: expect.stringContaining('after no commit') as unknown })
  })
})

test('what counts is rows of the subject that were equal: found by key and by iteration, in every way of reading', () => {
  const { subject, states, checker } = scene()
  subject.state = states[2]!
  checker.look()
  // Three items and one tag, each read twice. The states before were tried too, and are not counted; nor is what SELECT says.
  expect(checker.comparisonsBy).toMatchObject({ onTheWay: 8, atBarriers: 0, told: 0 })
  expect(checker.barrier(subject.now)).toBeUndefined()
  const { atBarriers, onTheWay, keptSnapshots, told } = checker.comparisonsBy
  // Now and in a new snapshot; and lookups of keys that have no row.
  expect(atBarriers).toBeGreaterThan(16 + 25)
  expect(told).toBe(8)
  expect(checker.comparisons).toBe(atBarriers + onTheWay + keptSnapshots)
  const before = checker.comparisons
  subject.state = states[1]!
  expect(checker.look()).toBeDefined()
  expect(checker.comparisons).toBe(before)
})
