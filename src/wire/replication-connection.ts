import type { Duplex } from 'node:stream'
import type pg from 'pg'
import { LogicalReplicationService, TestDecodingPlugin } from 'pg-logical-replication'
import { asError, assert } from '../errors.js'
import type { ReplicationConnection, StreamHandlers, TextRow, Timers } from '../runtime.js'
import { lostError, meansLost } from './connect-errors.js'
import { type Opening, Socket } from './socket.js'
import { ignoring, StreamReader } from './stream-reader.js'

/** What `pg` does not declare of its client, and `pg-logical-replication` relies on too. */
interface ClientInternals {
  readonly connection: {
    /** The socket, or the TLS layer over it. */
    readonly stream: Duplex
    sendCopyFromChunk(chunk: Uint8Array): void
    /** Says goodbye, then ends the socket. */
    end(): void
  }
}

/** A walsender with nothing to send answers a goodbye at once; one that sends a huge transaction hears it only when the socket is cut. */
const STREAM_GOODBYE_MS = 100

/** Ends a session's process on the server, from another session. */
export type Terminate = (pid: number) => Promise<unknown>

/**
 * One connection in replication mode. `pg-logical-replication` makes and ends its client; a plugin of ours gets that
 * client as soon as it is connected, and what the server then streams is read by `StreamReader`.
 */
export class PgReplicationConnection implements ReplicationConnection {
  /** Settles once the service has ended the client: `lost` may be called before, and more than once. */
  readonly closed: Promise<Error | undefined>
  readonly #client: pg.Client & ClientInternals
  readonly #reader: StreamReader
  #resolveClosed: (reason: Error | undefined) => void = () => undefined
  #onStart: () => void = () => undefined
  #isStreaming = false
  #queriesRunning = 0
  #isOver = false
  #pid = 0
  #closing: Promise<void> | undefined

  private constructor(
    client: pg.Client,
    readonly service: Service,
    readonly timers: Timers,
    readonly terminate: Terminate,
  ) {
    this.#client = client as pg.Client & ClientInternals
    this.#reader = this.#takeOver(this.#client.connection.stream)
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve
    })
    service.onLoss = error => this.#over(lostError(error))
  }

  /** Connects and prepares. Rejects with what `pg` says, or the signal's reason. */
  static async open(opening: Opening, terminate: Terminate): Promise<PgReplicationConnection> {
    const { config, timers, limitMs, signal, prepare } = opening
    const service = new Service(config)
    const connect = async () => {
      const connection = new PgReplicationConnection(await service.connected, service, timers, terminate)
      connection.#pid = (await prepare(connection)).pid
      return connection
    }
    try {
      return await service.socket.within(connect(), timers, limitMs, signal)
    } catch (error) {
      await service.end()
      throw error
    }
  }

  get pid(): number {
    return this.#pid
  }

  get received(): number | null {
    return this.service.socket.received
  }

  async query(sql: string): Promise<TextRow[]> {
    assert(!this.#isStreaming, 'nothing is asked on a connection that streams')
    this.#queriesRunning++
    try {
      return (await this.#client.query<TextRow>(sql)).rows
    } catch (error) {
      throw meansLost(error) ? lostError(error) : error
    } finally {
      this.#queriesRunning--
    }
  }

  start(sql: string, handlers: StreamHandlers): Promise<void> {
    assert(!this.#isStreaming, 'a connection streams once')
    this.#reader.handlers = handlers
    return new Promise((resolve, reject) => {
      this.#onStart = () => {
        this.#isStreaming = true
        resolve()
      }
      this.#client.query(sql).then(
        () => this.#over(lostError(new Error('The server ended the stream.'))),
        (error: unknown) => {
          const isLost = this.#isStreaming || meansLost(error)
          reject(isLost ? lostError(error) : asError(error))
          // Refused before it began, as for a slot in use: the connection can be asked again.
          if (isLost) this.#over(lostError(error))
        },
      )
    })
  }

  sendStatus(status: Uint8Array): void {
    if (!this.#isOver && this.#closing === undefined) this.#client.connection.sendCopyFromChunk(status)
  }

  pause(): void {
    // While closing, the rest is read so that the server can say goodbye.
    if (this.#closing === undefined) this.#client.connection.stream.pause()
  }

  resume(): void {
    this.#client.connection.stream.resume()
  }

  close(): Promise<void> {
    this.#closing ??= this.#goodbye()
    return this.#closing
  }

  async #goodbye(): Promise<void> {
    if (!this.#isOver) {
      this.#reader.handlers = ignoring
      // A walsender that waits for other transactions, to make a slot, would not notice that we are gone. If nobody
      // can be asked to end it, its lock_timeout does.
      if (this.#queriesRunning > 0) await this.terminate(this.#pid).catch(() => undefined)
      this.resume()
      this.#client.connection.end()
    }
    await this.service.socket.goodbye(
      this.closed,
      this.timers,
      this.#isStreaming ? STREAM_GOODBYE_MS : undefined,
    )
  }

  /** The connection is at its end, for whatever reason is told first. */
  #over(reason: Error): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#reader.handlers = ignoring
    const told = this.#closing === undefined ? reason : undefined
    void this.service.end().then(() => this.#resolveClosed(told))
  }

  /** Puts the reader between the socket and `pg`'s parser. Done while nothing is under way, so at a message's border. */
  #takeOver(stream: Duplex): StreamReader {
    const listeners = stream.listeners('data') as ((chunk: Buffer) => void)[]
    assert(listeners.length === 1, 'only pg’s parser reads its socket')
    const parse = listeners[0]!
    stream.removeListener('data', parse)
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    return new StreamReader(() => this.#onStart(), parse)
  }

  #read(chunk: Buffer): void {
    try {
      this.#reader.read(chunk)
    } catch (error) {
      this.#over(lostError(error))
    }
  }
}

/**
 * The service of `pg-logical-replication`, without its traps: it reports one loss through two events and a rejection, its
 * `stop` waits for a goodbye, and its own confirmations (switched off here) would confirm what was merely received.
 */
class Service {
  readonly socket: Socket
  readonly connected: Promise<pg.Client>
  /** Told of each sign of a loss. */
  onLoss: (error: Error) => void
  readonly #service: LogicalReplicationService
  #subscriptionEnded: () => void = () => undefined

  constructor(config: pg.ClientConfig) {
    this.socket = new Socket(config.stream)
    const ownSocket = { ...config, stream: () => this.#listening(this.socket.stream()) }
    this.#service = new LogicalReplicationService(ownSocket, {
      acknowledge: { auto: false, timeoutSeconds: 0 },
    })
    this.onLoss = () => undefined
    this.connected = new Promise((resolve, reject) => {
      this.onLoss = reject
      const plugin = new HandOver(client => {
        resolve(client)
        return new Promise(ended => {
          this.#subscriptionEnded = ended
        })
      })
      this.#service.on('error', error => this.onLoss(error))
      this.#service.subscribe(plugin, '').catch((error: unknown) => this.onLoss(asError(error)))
    })
  }

  /**
   * The service listens to its client some turns of the promise queue after that is connected. A server that is shutting down may say so in the
   * same packet, and an error that nobody listens to would end the process.
   */
  #listening(stream: ReturnType<Socket['stream']>): ReturnType<Socket['stream']> {
    stream?.once('connect', () => {
      const { _client: client } = this.#service as unknown as { readonly _client: pg.Client | null }
      client?.on('error', error => this.onLoss(error))
    })
    return stream
  }

  /** Cuts the socket if it is still there, and frees everything. */
  async end(): Promise<void> {
    this.socket.cut()
    this.#subscriptionEnded()
    await this.#service.destroy()
  }
}

/** A plugin is handed the client once it is connected, and the service waits for what `start` returns. */
class HandOver extends TestDecodingPlugin {
  constructor(readonly handOver: (client: pg.Client) => Promise<void>) {
    super()
  }

  override start(client: pg.Client): Promise<void> {
    return this.handOver(client)
  }
}
