import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { systemRuntime } from '../../src/runtime.js'
import { PgReplicationConnection } from '../../src/wire/replication-connection.js'

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const AUTHENTICATED = message('R', Buffer.alloc(4))
const KEY_DATA = message('K', Buffer.alloc(8))
const READY = message('Z', Buffer.from('I'))
const SHUT_DOWN = message(
  'E',
  Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0'),
)

test('a server that accepts a connection and ends it in one packet is a loss by name, and not the end of the process', async () => {
  await using server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(Buffer.concat([AUTHENTICATED, KEY_DATA, READY, SHUT_DOWN])))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const opening = PgReplicationConnection.open(
    {
      config: { host: '127.0.0.1', port, user: 'nobody', database: 'none' },
      timers: systemRuntime.timers,
      limitMs: 30_000,
      async prepare(session) {
        await session.query('select 1')
        return { pid: 1 }
      },
    },
    () => Promise.resolve(),
  )
  // Were nobody to listen, vitest would report an unhandled error and fail.
  await expect(opening).rejects.toThrow()
})
