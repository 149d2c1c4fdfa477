import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { ConnectionError, OptionError } from '../../src/errors.js'
import {
  failureEvent,
  nextSlotState,
  type SlotEvent,
  type SlotState,
  waitMs,
} from '../../src/source/slot-state.js'
import { shows } from '../support/shows.js'

const error = new ConnectionError('lost', 'gone', true)

const states: Record<SlotState['kind'], SlotState> = {
  connecting: { kind: 'connecting', attempt: 2 },
  loading: { kind: 'loading', attempt: 2 },
  streaming: { kind: 'streaming', attempt: 2 },
  waiting: { kind: 'waiting', attempt: 2, error, wasCheap: false },
  failed: { kind: 'failed', error },
  closed: { kind: 'closed' },
}
const events: Record<SlotEvent['kind'], SlotEvent> = {
  opened: { kind: 'opened' },
  loaded: { kind: 'loaded' },
  resumed: { kind: 'resumed' },
  settled: { kind: 'settled' },
  elapsed: { kind: 'elapsed' },
  lost: { kind: 'lost', error },
  fatal: { kind: 'fatal', error },
  close: { kind: 'close' },
}

const stays = <K extends SlotState['kind']>(kind: K) => ({
  opened: kind,
  loaded: kind,
  resumed: kind,
  settled: kind,
  elapsed: kind,
  lost: kind,
  fatal: kind,
  close: kind,
})
const anyTime = { lost: 'waiting', fatal: 'failed', close: 'closed' } as const

const expected: Record<SlotState['kind'], Record<SlotEvent['kind'], SlotState['kind']>> = {
  connecting: { ...stays('connecting'), ...anyTime, opened: 'loading', resumed: 'streaming' },
  loading: { ...stays('loading'), ...anyTime, loaded: 'streaming' },
  streaming: { ...stays('streaming'), ...anyTime },
  waiting: { ...stays('waiting'), elapsed: 'connecting', fatal: 'failed', close: 'closed' },
  failed: { ...stays('failed'), close: 'closed' },
  closed: stays('closed'),
}

const pairs = Object.entries(expected).flatMap(([state, row]) =>
  Object.entries(row).map(([event, next]) => [state, event, next] as const),
) as [SlotState['kind'], SlotEvent['kind'], SlotState['kind']][]

test.each(pairs)('%s, when %s, is then %s', (state, event, next) => {
  assert.equal(nextSlotState(states[state], events[event]).kind, next)
})

describe('attempts', () => {
  test('are counted over losses, and forgotten only by a stream that has lasted', () => {
    const kinds = [
      'opened',
      'loaded',
      'lost',
      'elapsed',
      'lost',
      'elapsed',
      'opened',
      'loaded',
      'settled',
      'lost',
    ] as const
    let state: SlotState = { kind: 'connecting', attempt: 0 }
    const attempts = kinds.map(kind => {
      state = nextSlotState(state, events[kind])
      return 'attempt' in state ? state.attempt : undefined
    })
    assert.deepEqual(attempts, [0, 0, 1, 1, 2, 2, 2, 2, 0, 1])
  })

  test('wait longer when the server has no connection left', () => {
    shows('C19')
    const crowded = new ConnectionError('senders', 'full', true)
    const wait = (reason: ConnectionError) =>
      waitMs({ kind: 'waiting', attempt: 1, error: reason, wasCheap: false }, () => 1)
    assert.equal(wait(error), 100)
    assert.equal(wait(crowded), 2_000)
  })

  test('come quickly while a server is down that was up a short while ago, and cost nobody a load', () => {
    const down = new ConnectionError('refused', 'nobody listens', true)
    const wait = (attempt: number, wasCheap: boolean) =>
      waitMs({ kind: 'waiting', attempt, error: down, wasCheap }, () => 1)
    assert.deepEqual(
      [1, 2, 3, 4, 60].map(attempt => wait(attempt, true)),
      [100, 200, 400, 500, 500],
    )
    assert.equal(wait(61, true), 10_000)
    assert.equal(wait(10, false), 10_000)
  })
})

test('an error that may go away by itself is a loss, any other is fatal', () => {
  assert.equal(failureEvent(error).kind, 'lost')
  assert.equal(failureEvent(new OptionError('slot', 'no')).kind, 'fatal')
})
