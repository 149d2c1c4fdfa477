import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

interface Address {
  readonly host: string
  readonly port: number
}

/** How a proxy's network carries what is sent. Whatever it does, bytes stay in their order. */
export interface Weather {
  /** Each chunk is on its way for so long. */
  readonly delayMs?: number
  /** Each chunk arrives in pieces of at most so many bytes. */
  readonly pieceBytes?: number
  /** What comes within so long is handed over as one chunk. */
  readonly gatherMs?: number
}

/** A TCP proxy before a server, for connections that break in ways that a server can't bring about. */
export interface TcpProxy extends AsyncDisposable {
  /** `url` with the proxy's address. */
  through(url: string): string
  /** Resets all connections, on both sides. */
  cut(): void
  /** Ends all connections on our side, and leaves the server's side of them open: it learns nothing of it. */
  forsake(): void
  /** From now on nothing goes either way, on no connection, and no side is told: what a router does that has lost its memory. */
  blackHole(): void
  /** From now on new connections are ended at once. */
  refuse(): void
  /** Nothing goes on until `thaw`, and nothing is lost. */
  freeze(): void
  thaw(): void
  /** From the next chunk on. */
  setWeather(weather: Weather): void
  /** New connections work again; those from the black hole's time and before never will. */
  mend(): void
  /** New connections go to another server. */
  leadTo(server: Address): void
}

/** So much one direction of one connection may hold back before the sender has to wait. */
const HELD_BYTES_MAX = 2 ** 20

/** Starts a proxy on a free port, before the server at `host` and `port`. */
export async function startProxy(server: Address): Promise<TcpProxy> {
  const network = new Network(server)
  const listener = createServer(client => network.join(client)).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port: own } = listener.address() as AddressInfo
  return {
    through(url) {
      const proxied = new URL(url)
      proxied.hostname = '127.0.0.1'
      proxied.port = String(own)
      return proxied.href
    },
    cut: () => network.cut(),
    forsake: () => network.forsake(),
    blackHole: () => network.blackHole(),
    freeze: () => network.freeze(),
    thaw: () => network.thaw(),
    setWeather: weather => {
      network.weather = weather
    },
    refuse: () => {
      network.isShut = true
    },
    mend: () => {
      network.isHole = false
      network.isShut = false
    },
    leadTo: other => {
      network.target = other
    },
    async [Symbol.asyncDispose]() {
      listener.close()
      network.end()
      await once(listener, 'close')
    },
  }
}

class Network {
  target: Address
  weather: Weather = {}
  isHole = false
  isShut = false
  #thawed: Promise<void> | undefined
  #thaw: () => void = () => undefined
  /** Our side of each connection, and the server's. */
  readonly #near = new Map<Socket, Lane[]>()
  readonly #far = new Set<Socket>()

  constructor(target: Address) {
    this.target = target
  }

  /** Undefined unless frozen. */
  get thawed(): Promise<void> | undefined {
    return this.#thawed
  }

  join(client: Socket): void {
    if (this.isShut) {
      client.destroy()
      return
    }
    const server = connect(this.target.port, this.target.host)
    const lanes = [new Lane(this, client, server, 'half-open'), new Lane(this, server, client, 'ends')]
    this.#near.set(client, lanes)
    this.#far.add(server)
    // A reset is what these tests are about.
    client.on('error', () => undefined)
    server.on('error', () => undefined)
    if (this.isHole) for (const lane of lanes) lane.swallow()
    client.on('close', () => {
      if (this.#near.delete(client)) server.destroy()
    })
    server.on('close', () => {
      this.#far.delete(server)
      client.destroy()
    })
  }

  cut(): void {
    for (const client of this.#near.keys()) client.resetAndDestroy()
  }

  forsake(): void {
    const forsaken = [...this.#near.keys()]
    this.#near.clear()
    for (const client of forsaken) client.destroy()
  }

  blackHole(): void {
    this.isHole = true
    for (const lanes of this.#near.values()) for (const lane of lanes) lane.swallow()
  }

  freeze(): void {
    this.#thawed ??= new Promise(resolve => {
      this.#thaw = resolve
    })
  }

  thaw(): void {
    this.#thawed = undefined
    this.#thaw()
  }

  end(): void {
    this.thaw()
    for (const socket of [...this.#near.keys(), ...this.#far]) socket.destroy()
  }
}

/** One direction of a connection. */
class Lane {
  readonly #network: Network
  readonly #from: Socket
  readonly #to: Socket
  #held: Buffer[] = []
  #heldBytes = 0
  #isSending = false
  #isLost = false
  #isAtEnd = false

  /** One that ends tells the receiver when the sender has ended. */
  constructor(network: Network, from: Socket, to: Socket, kind: 'ends' | 'half-open') {
    this.#network = network
    this.#from = from
    this.#to = to
    from.on('data', (chunk: Buffer) => this.#take(chunk))
    if (kind === 'ends') from.on('end', () => this.#end())
  }

  /** From now on nothing arrives. */
  swallow(): void {
    this.#isLost = true
    this.#held = []
    this.#from.resume()
  }

  #end(): void {
    this.#isAtEnd = true
    if (!this.#isSending && !this.#isLost) this.#to.end()
  }

  #take(chunk: Buffer): void {
    if (this.#isLost) return
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes > HELD_BYTES_MAX) this.#from.pause()
    if (!this.#isSending) void this.#send()
  }

  async #send(): Promise<void> {
    this.#isSending = true
    while (this.#held.length > 0) {
      const { weather, thawed } = this.#network
      if (thawed !== undefined) await thawed
      const wait = weather.delayMs ?? weather.gatherMs ?? 0
      if (wait > 0) await sleep(wait)
      const chunks = weather.gatherMs === undefined ? this.#held.splice(0, 1) : this.#held.splice(0)
      const bytes = Buffer.concat(chunks)
      this.#heldBytes -= bytes.length
      await this.#handOver(bytes, weather.pieceBytes ?? bytes.length)
      if (this.#heldBytes <= HELD_BYTES_MAX) this.#from.resume()
    }
    this.#isSending = false
    if (this.#isAtEnd && !this.#isLost) this.#to.end()
  }

  async #handOver(bytes: Buffer, pieceBytes: number): Promise<void> {
    for (let at = 0; at < bytes.length && this.#to.writable && !this.#isLost; at += pieceBytes)
      if (!this.#to.write(bytes.subarray(at, at + pieceBytes))) await drained(this.#to)
  }
}

/** Resolves when the socket takes more, or will never again. */
async function drained(socket: Socket): Promise<void> {
  if (!socket.writable) return
  await new Promise<void>(resolve => {
    const done = (): void => {
      socket.off('drain', done).off('close', done)
      resolve()
    }
    socket.on('drain', done).on('close', done)
  })
}
