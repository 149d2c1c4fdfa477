import type { ReplicationConnection, StreamHandlers, TextRow } from '../../../src/runtime.js'
import { ignoring, StreamReader } from '../../../src/wire/stream-reader.js'
import { lostError } from '../../../src/wire/connect-errors.js'
import { ClientSession } from './client-session.js'
import type { ScriptedServer } from './server.js'
import { SlotCreation } from './slot-creation.js'
import { Walsender } from './walsender.js'

const START = /^START_REPLICATION SLOT "(\w+)" LOGICAL ([0-9A-F]+\/[0-9A-F]+) \((.*)\)$/
const CREATE =
  /^CREATE_REPLICATION_SLOT "(\w+)" (TEMPORARY )?LOGICAL "(\w+)" (?:EXPORT_SNAPSHOT|\(SNAPSHOT 'export'(?:, FAILOVER true)?\))$/

/** A connection in replication mode: the bytes of its stream go through the cache's own reader, in whatever pieces the network makes of them. */
export class ScriptedReplication implements ReplicationConnection {
  readonly #session: ClientSession
  readonly #reader: StreamReader
  #walsender: Walsender | null = null
  readonly closed: Promise<Error | undefined>
  #isPaused = false
  #isClosing = false
  readonly #unread: Buffer[] = []

  constructor(server: ScriptedServer) {
    this.#session = new ClientSession(server)
    this.closed = this.#session.ended
    this.#reader = new StreamReader(
      () => undefined,
      () => undefined,
    )
    this.#session.onLost = () => {
      this.#reader.handlers = ignoring
      this.#walsender?.stop()
    }
  }

  get pid(): number {
    return this.#session.backend.pid
  }

  get received(): number {
    return this.#session.received
  }

  query(sql: string): Promise<TextRow[]> {
    const creation = CREATE.exec(sql)
    if (creation === null) {
      this.#session.backend.server.endExport(this.#session.backend)
      return this.#session.query(sql)
    }
    const [, name, temporary, plugin] = creation
    let making: SlotCreation | null = null
    return this.#session.request(backend => {
      making ??= new SlotCreation(backend, {
        name: name!,
        plugin: plugin!,
        isTemporary: temporary !== undefined,
      })
      return making.answer()
    })
  }

  async start(sql: string, handlers: StreamHandlers): Promise<void> {
    const match = START.exec(sql)
    const { server } = this.#session
    if (match === null) throw server.unknown(sql)
    const [, slot, position] = match
    this.#reader.handlers = handlers
    await this.#session.request(backend => {
      server.endExport(backend)
      this.#walsender = new Walsender(server, this.#session, { slot: slot!, position: position! }, chunk =>
        this.#arrived(chunk),
      )
      return true
    })
    this.#session.isStreaming = true
    this.#walsender?.run()
  }

  sendStatus(status: Uint8Array): void {
    if (this.#session.isOver || this.#isClosing) return
    const copy = Buffer.from(status)
    this.#session.up.send(() => this.#walsender?.status(copy))
  }

  pause(): void {
    if (this.#isClosing) return
    this.#isPaused = true
    this.#session.server.faults.count('backpressure')
  }

  /** What waits is read in a later turn, as from a socket: until it is paused again. */
  resume(): void {
    this.#isPaused = false
    this.#session.server.scheduler.after(0, () => {
      while (!this.#isPaused && this.#unread.length > 0) this.#read(this.#unread.shift()!)
    })
  }

  close(): Promise<void> {
    this.#isClosing = true
    this.#reader.handlers = ignoring
    this.#walsender?.stop()
    return this.#session.close()
  }

  /** A chunk has come out of the network: it waits in the socket while nobody reads. */
  #arrived(chunk: Buffer): void {
    if (this.#isPaused || this.#unread.length > 0) this.#unread.push(chunk)
    else this.#read(chunk)
  }

  #read(chunk: Buffer): void {
    this.#walsender?.taken(chunk.length)
    this.#session.server.onArrived()
    try {
      this.#reader.read(chunk)
    } catch (error) {
      this.#session.lose(lostError(error))
    }
  }
}
