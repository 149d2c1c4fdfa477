import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import type pg from 'pg'
import { describe, test } from 'vitest'
import { ConnectionError } from '../../src/errors.js'
import { CopyOut } from '../../src/wire/copy-out.js'

/** A server's message: its tag, its length, its body. */
function message(tag: string, body: string): Buffer {
  const bytes = Buffer.from(`${tag}....${body}`)
  bytes.writeUInt32BE(bytes.length - 1, 1)
  return bytes
}

/** A query that runs, on a socket whose other side is `send`, with a parser that notes what it is given. */
function running(onMessage: (text: string, query: CopyOut) => void = () => undefined) {
  const heard: string[] = []
  const stream = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
  const query = new CopyOut('copy t to stdout')
  const parse = (bytes: Buffer) => {
    if (bytes.length === 0) return
    heard.push(bytes.toString('latin1'))
    onMessage(bytes.toString('latin1'), query)
  }
  stream.on('data', parse)
  const asked: string[] = []
  query.submit({ stream, query: (sql: string) => asked.push(sql) } as unknown as pg.Connection)
  assert.deepEqual(asked, ['copy t to stdout'])
  return { heard, query, stream, send: (bytes: Buffer) => void stream.emit('data', bytes), parse }
}

/** As `pg` does with the messages that end a query. */
function ends(text: string, query: CopyOut): void {
  if (text.startsWith('Z')) query.handleReadyForQuery()
  if (text.startsWith('E')) query.handleError(new Error(text.slice(5)))
}

async function rowsOf(query: CopyOut): Promise<string> {
  const all: Uint8Array[] = []
  for await (const rows of query.rows()) all.push(rows)
  return Buffer.concat(all).toString('latin1')
}

describe('COPY TO STDOUT', () => {
  const rows = [message('d', '1\tone\n'), message('d', ''), message('d', `2\t${'x'.repeat(300)}\n`)]
  const head = message('H', '\0\0\x02\0\0\0\0')
  const notice = message('N', 'notice')
  const tail = [message('c', ''), message('C', 'COPY 3\0'), message('Z', 'I')]

  test('hands its rows on as whole messages, and all other messages to pg, wherever the chunks end', async () => {
    const answer = Buffer.concat([head, rows[0]!, rows[1]!, notice, rows[2]!, ...tail])
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), async sizes => {
        const { heard, query, send, stream, parse } = running(ends)
        const read = rowsOf(query)
        for (let at = 0, i = 0; at < answer.length; i++) {
          const size = sizes[i % sizes.length]!
          send(answer.subarray(at, at + size))
          at += size
        }
        assert.equal(await read, Buffer.concat(rows).toString('latin1'))
        assert.deepEqual(
          heard,
          [head, notice, ...tail].map(bytes => bytes.toString('latin1')),
        )
        assert.deepEqual(stream.listeners('data'), [parse])
      }),
    )
  })

  test('what follows its end belongs to pg, whole or not', async () => {
    const { heard, query, send } = running(ends)
    const read = rowsOf(query)
    send(Buffer.concat([head, ...tail, notice, notice.subarray(0, 7)]))
    send(notice.subarray(7))
    assert.equal(await read, '')
    const [first, second] = [notice.toString('latin1', 0, 7), notice.toString('latin1', 7)]
    assert.deepEqual(heard.slice(-3), [notice.toString('latin1'), first, second])
  })

  test('stops reading its socket while too much waits, and reads on when it was taken', async () => {
    const { query, send, stream } = running(ends)
    const big = message('d', `${'x'.repeat(400_000)}\n`)
    const read = query.rows()
    for (let i = 0; i < 2; i++) send(big)
    assert.equal(stream.isPaused(), false)
    send(big)
    assert.equal(stream.isPaused(), true)
    await read.next()
    assert.equal(stream.isPaused(), true)
    await read.next()
    assert.equal(stream.isPaused(), false)
  })

  test('rejects with what the server says, and leaves the socket to pg', async () => {
    const { query, send, stream, parse } = running(ends)
    const read = rowsOf(query)
    send(Buffer.concat([head, rows[0]!, message('E', 'canceled'), message('Z', 'I')]))
    await assert.rejects(read, /canceled/)
    assert.deepEqual(stream.listeners('data'), [parse])
  })

  test('rejects what is not the protocol', async () => {
    const { query, send } = running(ends)
    const read = rowsOf(query)
    send(Buffer.concat([head, Buffer.from([0x64, 0, 0, 0, 3])]))
    await assert.rejects(
      read,
      (error: unknown) => error instanceof ConnectionError && error.failure === 'protocol',
    )
  })
})
