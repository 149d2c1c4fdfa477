import { expect, test } from 'vitest'
import { Coverage } from '../../simulation/deterministic/coverage.js'
import { cellOf, DIMENSIONS, pairOf, Pairs, textOfPair } from '../../simulation/deterministic/pairs.js'
import { runDeterministic } from '../../simulation/deterministic/scenario.js'
import { accounts, events, foreign, items, lines } from '../../simulation/deterministic/schema.js'

test('each pair of values of two dimensions is to be had, or has a reason why not', () => {
  const sizes = Object.values(DIMENSIONS).map(values => values.length)
  const all = sizes.reduce((sum, size, i) => sum + size * sizes.slice(i + 1).reduce((a, b) => a + b, 0), 0)
  const { feasible, covered, infeasible } = new Pairs().report
  expect([covered, feasible + Object.keys(infeasible).length]).toEqual([0, all])
  expect(Object.values(infeasible).every(reason => reason.length > 10)).toBe(true)
})

test('a fault meets the operations that were under way when it struck', () => {
  const pairs = new Pairs()
  pairs.struck(
    'stream cut',
    'wal2json',
    new Set([cellOf('truncate', items), cellOf('logical message', null)]),
  )
  const missing = new Set(pairs.missing.map(textOfPair))
  expect(pairs.covered).toBe(5)
  for (const met of [
    'fault=stream cut,decoder=wal2json',
    'fault=stream cut,operation=truncate',
    'fault=stream cut,operation=logical message',
    'fault=stream cut,identity=default',
    'fault=stream cut,residency=bounded',
  ])
    expect([met, missing.has(met)]).toEqual([met, false])
})

test('a commit meets its operations, the kinds of its tables and the decoder', () => {
  const pairs = new Pairs()
  pairs.committed('pgoutput', new Set([cellOf('insert', events)]))
  expect(pairs.covered).toBe(6)
  const others = new Pairs()
  others.add(pairs.met)
  others.committed('pgoutput', new Set([cellOf('insert', accounts), cellOf('delete', foreign)]))
  // To these: default and whole, each with insert, pgoutput and each other; and delete with pgoutput.
  expect(others.covered).toBe(6 + 5 + 1)
})

test('a pair is read as it is written, and one that there is not is refused', () => {
  const pair = { fault: 'slot dropped', operation: 'key change' } as const
  expect(pairOf(textOfPair(pair))).toEqual(pair)
  expect(() => pairOf('fault=rain')).toThrow('No fault is called "rain".')
})

test.each([
  [{ fault: 'slot dropped', operation: 'truncate' }],
  [{ fault: 'stream frozen', residency: 'bounded' }],
  [{ operation: 'giant transaction', identity: 'full' }],
] as const)(
  'a pair that a run favours is met: %o',
  async favours => {
    const { totals, failure } = await runDeterministic({
      seed: 1,
      histories: 6,
      decoders: ['pgoutput'],
      mode: 'swarm',
      favours,
    })
    expect(failure?.error).toBeUndefined()
    expect(totals.missing).not.toContainEqual(favours)
  },
  60_000,
)

test('a history lacks what it has not streamed', () => {
  const coverage = new Coverage()
  expect(coverage.lacks({ truncates: true })).toEqual([
    '60 frames',
    '6 transactions',
    'an out-of-line value that was left alone',
    'a changed key',
    'a TRUNCATE',
  ])
  const texts = ['1', 'Ada', '2', 't', 'x'.repeat(60)]
  const change = { at: 0, prefix: '', isPublished: true, spec: accounts } as const
  coverage.frame(0, 1, { ...change, kind: 'update', old: texts, new: texts.with(1, 'Grace') })
  coverage.frame(0, 2, { ...change, kind: 'update', old: texts, new: texts.with(0, '2') })
  for (let number = 1; number < 6; number++)
    for (let frame = 0; frame < 12; frame++) coverage.frame(number, frame, null)
  expect(coverage.lacks({ truncates: true })).toEqual(['a TRUNCATE'])
  // What is sent again counts once.
  coverage.frame(0, 1, { ...change, kind: 'truncate', old: null, new: null, spec: lines })
  expect(coverage.lacks({ truncates: true })).toEqual(['a TRUNCATE'])
  expect(coverage.lacks({ truncates: false })).toEqual([])
})
