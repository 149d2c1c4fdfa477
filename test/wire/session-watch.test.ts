import { expect, test } from 'vitest'
import { ConnectionError } from '../../src/errors.js'
import type { QueryConnection } from '../../src/runtime.js'
import { SessionWatch, type Watchable } from '../../src/wire/session-watch.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

/** Far more than any silence is borne. */
const LONG_MS = 3_600_000
/** More than two looks take. */
const LOOKS_MS = 30_000

class Session implements Watchable {
  received: number | null = 0
  isClosed = false
  constructor(readonly pid: number) {}
  close(): Promise<void> {
    this.isClosed = true
    return Promise.resolve()
  }
}

/** A server whose processes wait for what the test says; those it does not name are gone. */
function watched(waits: Record<number, string | null>) {
  const runtime = new VirtualRuntime()
  const server = { waits, looks: 0, error: null as Error | null, open: 0 }
  const watch = new SessionWatch({
    runtime,
    open: () => {
      server.looks++
      if (server.error !== null) return Promise.reject(server.error)
      server.open++
      return Promise.resolve({
        query: () =>
          Promise.resolve(Object.entries(server.waits).map(([pid, what]) => ({ pid, waits: what }))),
        close: () => {
          server.open--
          return Promise.resolve()
        },
      } as Partial<QueryConnection> as QueryConnection)
    },
  })
  return { runtime, server, watch }
}

/** An answer that never comes, and how waiting for it ended. */
function owed(watch: SessionWatch, session: Session) {
  const state: { error: unknown; fail: (error: Error) => void } = { error: null, fail: () => undefined }
  const answer = new Promise<never>((_, reject) => {
    state.fail = reject
  })
  const handle = watch.add(session)
  const close = session.close.bind(session)
  session.close = () => {
    state.fail(new Error('the socket was cut'))
    return close()
  }
  handle.awaits(answer).catch((error: unknown) => {
    state.error = error
  })
  return { state, handle }
}

test('a statement may take as long as it likes: its process is at work', async () => {
  const { runtime, server, watch } = watched({ 7: 'Lock' })
  const session = new Session(7)
  owed(watch, session)
  await runtime.advance(LONG_MS)
  expect(server.looks).toBeGreaterThan(100)
  expect(session.isClosed).toBe(false)
  server.waits[7] = null
  await runtime.advance(LONG_MS)
  expect(session.isClosed).toBe(false)
  expect(server.open).toBe(0)
})

test('a session whose process is gone is given up at the first look, by name', async () => {
  const { runtime, watch } = watched({})
  const session = new Session(7)
  const { state } = owed(watch, session)
  await runtime.advance(LOOKS_MS)
  expect(session.isClosed).toBe(true)
  expect(state.error).toBeInstanceOf(ConnectionError)
  expect((state.error as ConnectionError).failure).toBe('silent')
  expect((state.error as ConnectionError).message).toContain('process for it is gone')
})

test('a session whose server waits for us is given up at the second look, and not if a byte came in between', async () => {
  const { runtime, server, watch } = watched({ 7: 'Client', 8: 'Client' })
  const dead = new Session(7)
  const slow = new Session(8)
  const { state } = owed(watch, dead)
  owed(watch, slow)
  for (let i = 0; i < 100; i++) {
    await runtime.advance(4_000)
    slow.received!++
  }
  expect(dead.isClosed).toBe(true)
  expect((state.error as Error).message).toContain('while the server waits for us')
  expect(slow.isClosed).toBe(false)
  expect(server.looks).toBeGreaterThanOrEqual(2)
})

test('a session that counts no bytes is given up only when its process is gone', async () => {
  const { runtime, server, watch } = watched({ 7: 'Client' })
  const session = new Session(7)
  session.received = null
  owed(watch, session)
  await runtime.advance(LONG_MS)
  expect(session.isClosed).toBe(false)
  delete server.waits[7]
  await runtime.advance(LOOKS_MS)
  expect(session.isClosed).toBe(true)
})

test('a session that is idle, or asked again and again, is not looked at', async () => {
  const { runtime, server, watch } = watched({})
  const idle = watch.add(new Session(7))
  const busy = watch.add(new Session(8))
  for (let i = 0; i < 100; i++) {
    await busy.awaits(Promise.resolve())
    void busy.awaits(new Promise(resolve => runtime.timers.after(900, () => resolve(null))))
    await runtime.advance(1_000)
  }
  expect(server.looks).toBe(0)
  await watch.remove(idle)
  await watch.remove(busy)
})

test('a server that can’t be reached for long has lost the silent sessions; one that refuses is hoped for much longer', async () => {
  const { runtime, server, watch } = watched({ 7: 'Lock' })
  const session = new Session(7)
  owed(watch, session)
  server.error = Object.assign(new Error('too many clients'), { severity: 'FATAL', code: '53300' })
  await runtime.advance(600_000)
  expect(session.isClosed).toBe(false)
  server.error = Object.assign(new Error('connect'), { code: 'ETIMEDOUT' })
  await runtime.advance(20_000)
  expect(session.isClosed).toBe(false)
  await runtime.advance(60_000)
  expect(session.isClosed).toBe(true)
})

test('what came while this process stood still is read before anybody is judged', async () => {
  const { runtime, server, watch } = watched({})
  const session = new Session(7)
  owed(watch, session)
  await runtime.advance(4_000)
  for (let i = 0; i < 20; i++) await runtime.stall(20_000)
  expect(server.looks).toBe(0)
  expect(session.isClosed).toBe(false)
})

test('nothing is left when the last session is over, though the server was just being asked', async () => {
  const { runtime, server, watch } = watched({ 7: 'Lock' })
  const { handle } = owed(watch, new Session(7))
  await runtime.advance(LOOKS_MS)
  await watch.remove(handle)
  expect(runtime.timersPending).toBe(0)
  expect(server.open).toBe(0)
})
