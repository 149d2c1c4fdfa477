import assert from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'vitest'
import { ConnectionError } from '../../src/errors.js'
import { StreamReader } from '../../src/wire/stream-reader.js'

/** A server's message: its tag, its length, its body. */
function message(tag: string, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.write(tag)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

function data(high: number, low: number, payload: string): Buffer {
  const body = Buffer.alloc(25 + payload.length)
  body.write('w')
  body.writeUInt32BE(high, 1)
  body.writeUInt32BE(low, 5)
  body.write(payload, 25)
  return message('d', body)
}

function keepalive(high: number, low: number, ask: boolean): Buffer {
  const body = Buffer.alloc(18)
  body.write('k')
  body.writeUInt32BE(high, 1)
  body.writeUInt32BE(low, 5)
  body[17] = ask ? 1 : 0
  return message('d', body)
}

function recordingReader(): { reader: StreamReader; heard: string[] } {
  const heard: string[] = []
  const onOther = (bytes: Buffer) => heard.push(`other ${bytes.toString('latin1')}`)
  const reader = new StreamReader(() => heard.push('start'), onOther)
  reader.handlers = {
    onData: (high, low, bytes, start, end) =>
      heard.push(`data ${high}/${low} ${Buffer.from(bytes).toString('latin1', start, end)}`),
    onKeepalive: (high, low, ask) => heard.push(`keepalive ${high}/${low} ${ask}`),
  }
  return { reader, heard }
}

const stream = Buffer.concat([
  message('W', Buffer.from([0, 0, 0])),
  data(0xffff_ffff, 0x8000_0000, 'first'),
  keepalive(1, 2, false),
  data(0, 0, ''),
  message('N', Buffer.from('notice')),
  data(3, 4, 'x'.repeat(300)),
  keepalive(5, 6, true),
])
const expected = [
  'other W\0\0\0\x07\0\0\0',
  'start',
  'data 4294967295/2147483648 first',
  'keepalive 1/2 false',
  'data 0/0 ',
  'other N\0\0\0\nnotice',
  `data 3/4 ${'x'.repeat(300)}`,
  'keepalive 5/6 true',
]

test('frames go to the handlers, and all else to pg, in order', () => {
  const { reader, heard } = recordingReader()
  reader.read(stream)
  assert.deepEqual(heard, expected)
})

test('it does not matter where the chunks end', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: stream.length - 1 })), cuts => {
      const { reader, heard } = recordingReader()
      const borders = [0, ...cuts.toSorted((a, b) => a - b), stream.length]
      borders.slice(1).forEach((end, index) => {
        if (end > borders[index]!) reader.read(Buffer.from(stream.subarray(borders[index], end)))
      })
      assert.deepEqual(heard, expected)
    }),
  )
})

test('byte by byte is only slower', () => {
  const { reader, heard } = recordingReader()
  for (const byte of stream) reader.read(Buffer.from([byte]))
  assert.deepEqual(heard, expected)
})

test('payloads lie in the chunk that was read: nothing is copied', () => {
  let where: Uint8Array | undefined
  const reader = new StreamReader(
    () => undefined,
    () => undefined,
  )
  reader.handlers = { onData: (_high, _low, bytes) => (where = bytes), onKeepalive: () => undefined }
  const chunk = Buffer.concat([data(1, 1, 'a')])
  reader.read(chunk)
  assert.equal(where, chunk)
})

test.each([
  ['a length below its own size', Buffer.from([0x64, 0, 0, 0, 3])],
  ['a negative length', Buffer.from([0x64, 0xff, 0xff, 0xff, 0xff])],
  ['a length beyond what PostgreSQL can build', Buffer.from([0x64, 0x7f, 0xff, 0xff, 0xff])],
  ['an unknown frame', message('d', Buffer.from('zzz'))],
  ['an empty frame', message('d', Buffer.alloc(0))],
  ['a data frame that is cut off', message('d', Buffer.from('w12345'))],
  ['a keepalive that is cut off', message('d', Buffer.from('k12345'))],
])('%s is refused', (_, bytes) => {
  const isProtocolError = (error: unknown) => error instanceof ConnectionError && error.failure === 'protocol'
  assert.throws(() => recordingReader().reader.read(bytes), isProtocolError)
  assert.throws(() => {
    const { reader } = recordingReader()
    for (const byte of bytes) reader.read(Buffer.from([byte]))
  }, isProtocolError)
})

test('an announced length allocates nothing', () => {
  const before = process.memoryUsage().arrayBuffers
  const { reader } = recordingReader()
  reader.read(Buffer.from([0x64, 0x3f, 0xff, 0xff, 0xff, 0x77]))
  assert.ok(process.memoryUsage().arrayBuffers - before < 100_000_000)
})
