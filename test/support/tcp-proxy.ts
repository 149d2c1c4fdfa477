import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

interface Address {
  readonly host: string
  readonly port: number
}

/** A TCP proxy before a server, for connections that break in ways that a server can't bring about. */
export interface TcpProxy extends AsyncDisposable {
  /** `url` with the proxy's address. */
  through(url: string): string
  /** Ends all connections on our side, and leaves the server's side of them open: it learns nothing of it. */
  forsake(): void
  /** From now on nothing goes either way, on no connection, and no side is told: what a router does that has lost its memory. */
  blackHole(): void
  /** From now on new connections are ended at once. */
  refuse(): void
  /** New connections work again; those from before never will. */
  mend(): void
  /** New connections go to another server. */
  leadTo(server: Address): void
}

/** Starts a proxy on a free port, before the server at `host` and `port`. */
export async function startProxy({ host, port }: Address): Promise<TcpProxy> {
  let target: Address = { host, port }
  const near = new Set<Socket>()
  const far = new Set<Socket>()
  const pairs = new Set<readonly [Socket, Socket]>()
  let isHole = false
  let isShut = false
  const swallow = ([client, server]: readonly [Socket, Socket]): void => {
    client.unpipe(server).resume()
    server.unpipe(client).resume()
  }
  const listener = createServer(client => {
    if (isShut) {
      client.destroy()
      return
    }
    const server = connect(target.port, target.host)
    const pair = [client, server] as const
    pairs.add(pair)
    near.add(client)
    far.add(server)
    // A reset is what these tests are about.
    client.on('error', () => undefined)
    server.on('error', () => undefined)
    client.pipe(server, { end: false })
    server.pipe(client)
    if (isHole) swallow(pair)
    client.on('close', () => {
      pairs.delete(pair)
      if (near.delete(client)) server.destroy()
    })
    server.on('close', () => {
      far.delete(server)
      client.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port: own } = listener.address() as AddressInfo
  return {
    through(url) {
      const proxied = new URL(url)
      proxied.hostname = '127.0.0.1'
      proxied.port = String(own)
      return proxied.href
    },
    forsake() {
      const forsaken = [...near]
      near.clear()
      for (const client of forsaken) client.destroy()
    },
    blackHole() {
      isHole = true
      for (const pair of pairs) swallow(pair)
    },
    refuse() {
      isShut = true
    },
    mend() {
      isHole = false
      isShut = false
    },
    leadTo(server) {
      target = server
    },
    async [Symbol.asyncDispose]() {
      listener.close()
      for (const socket of [...near, ...far]) socket.destroy()
      await once(listener, 'close')
    },
  }
}
