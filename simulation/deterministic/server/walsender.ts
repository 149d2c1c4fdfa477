import type { DecoderName } from '../../../src/decode/index.js'
import { type Encoder, encoderOf, type Frame } from '../encode/encoder.js'
import type { ClientSession } from './client-session.js'
import { type Position, parsePosition } from './log.js'
import type { ScriptedServer } from './server.js'
import {
  FatalServerError,
  NOT_IN_PREREQUISITE_STATE,
  OBJECT_IN_USE,
  ServerError,
  UNDEFINED_OBJECT,
} from './server-error.js'
import type { Slot } from './slots.js'

/** What the network and both sockets hold before the server has to wait. */
const WINDOW_BYTES = 256 * 1024
/** The longest that a transaction takes to be decoded, before any of it is sent. */
const DECODING_MS = 30_000
/** Frames that one chunk carries at most. */
const CHUNK_FRAMES_MAX = 200
const COPY_DATA = 0x64
const XLOG_DATA = 0x77
const KEEPALIVE = 0x6b

/** The server's side of a stream: decodes commits as the log gets to disk, sends them, and hears what was confirmed. */
export class Walsender {
  readonly #server: ScriptedServer
  readonly #session: ClientSession
  readonly #slot: Slot
  readonly #encoder: Encoder
  readonly #deliver: (chunk: Buffer) => void
  /** Commits before it are not sent. */
  readonly #from: Position
  /** The commit that is sent now: its place in the log, its frames, how many were sent. */
  #next = 0
  #frames: Iterator<Frame> | null = null
  #frameNumber = 0
  /** Everything before it was sent. */
  #sent: Position = 0
  #bytesUnderWay = 0
  /** What the cache has confirmed last on this connection. */
  #reported: Position = 0
  /** It decodes, and says nothing; whether it was asked meanwhile to answer. */
  #isDecoding = false
  #isStopped = false
  #isAwake = false
  #heardMs = 0
  #hasAsked = false
  #cancelTimeout: () => void = () => undefined

  constructor(
    server: ScriptedServer,
    session: ClientSession,
    from: { readonly slot: string; readonly position: string },
    deliver: (chunk: Buffer) => void,
  ) {
    this.#server = server
    this.#session = session
    this.#deliver = deliver
    const { pid } = session.backend
    server.faults.beforeStatement('start')
    const slot = server.slots.byName.get(from.slot)
    if (slot === undefined)
      throw new ServerError(UNDEFINED_OBJECT, `replication slot "${from.slot}" does not exist`)
    if (slot.activePid !== null && slot.activePid !== pid)
      throw new ServerError(
        OBJECT_IN_USE,
        `replication slot "${slot.name}" is active for PID ${slot.activePid}`,
      )
    if (slot.invalidation !== null)
      throw new ServerError(
        NOT_IN_PREREQUISITE_STATE,
        `can no longer get changes from replication slot "${slot.name}"`,
      )
    slot.activePid = pid
    this.#slot = slot
    this.#from = Math.max(parsePosition(from.position), slot.confirmed)
    this.#sent = this.#from
    this.#encoder = encoderOf(slot.plugin as DecoderName, server.model.major)
    const first = server.model.committed.findIndex(({ commitAt }) => commitAt >= this.#from)
    this.#next = first === -1 ? server.model.committed.length : first
  }

  run(): void {
    const { server } = this.#session
    this.#heardMs = server.scheduler.nowMs
    this.#session.backend.waits = 'Activity'
    server.walsenders.add(this)
    this.#watch()
    this.wake()
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelTimeout()
    this.#server.walsenders.delete(this)
  }

  /** The log has moved. */
  wake(): void {
    if (this.#isAwake || this.#isStopped) return
    this.#isAwake = true
    this.#server.scheduler.after(0, () => {
      this.#isAwake = false
      if (!this.#isStopped && !this.#session.backend.isOver) this.#send()
    })
  }

  /** The relations may have changed: they are announced again before their next change. */
  announceAgain(): void {
    this.#encoder.announceAgain()
  }

  /** So many bytes have left the network. */
  taken(bytes: number): void {
    const wasFull = this.#bytesUnderWay >= WINDOW_BYTES
    this.#bytesUnderWay -= bytes
    if (wasFull && this.#bytesUnderWay < WINDOW_BYTES) this.wake()
  }

  /** A standby status update has arrived. */
  status(message: Buffer): void {
    if (this.#isStopped || this.#session.backend.isOver) return
    const { scheduler, trace } = this.#server
    const flushed = Number(message.readBigUInt64BE(9))
    trace.event(scheduler.nowMs, 'status', () => String(flushed))
    trace.number(flushed)
    this.#heardMs = scheduler.nowMs
    this.#hasAsked = false
    if (flushed < this.#reported)
      this.#server.fail(new Error(`The cache has confirmed ${flushed} after ${this.#reported}.`))
    this.#reported = flushed
    if (flushed > this.#sent)
      this.#server.fail(new Error(`The cache has confirmed ${flushed}, but only ${this.#sent} was sent.`))
    this.#server.onConfirmed(flushed)
    this.#slot.confirmed = Math.max(this.#slot.confirmed, flushed)
    if (this.#isDecoding) return
    if (message[33] === 1) this.keepalive(false)
    // What the server does on every turn of its loop: an answer with an old position is answered.
    else if (this.#isCaughtUp && flushed < this.#sent) this.keepalive(false)
  }

  get #isCaughtUp(): boolean {
    const { model } = this.#server
    return this.#frames === null && (model.committed[this.#next]?.end ?? Infinity) > model.log.flushed
  }

  #send(): void {
    const { random, cutter, faults } = this.#server
    if (this.#isDecoding || this.#decodesForLong()) return
    const wantedFrames = random.between(1, this.#server.chunkFrames)
    const parts: Buffer[] = []
    let isCut = false
    while (this.#bytesUnderWay < WINDOW_BYTES && parts.length < Math.min(wantedFrames, CHUNK_FRAMES_MAX)) {
      const frame = this.#nextFrame()
      if (frame === null) break
      parts.push(this.#framed(frame))
      isCut = cutter.isAfter(this.#server.model.committed[this.#current]!.number, this.#frameNumber - 1)
      if (isCut) break
    }
    this.#ship(parts, isCut)
    if (isCut) {
      faults.count('cut after a frame')
      this.stop()
      const lingersMs = faults.strikes('walsender lingers', 0.15) ? random.between(1, 400) : 0
      this.#session.down.send(() =>
        this.#session.lose(new Error('Connection terminated unexpectedly'), lingersMs),
      )
      return
    }
    if (parts.length > 0) {
      if (this.#bytesUnderWay < WINDOW_BYTES) this.wake()
      return
    }
    if (this.#isCaughtUp) this.#caughtUp()
  }

  /** Before it sends any of a transaction it may take long, and be silent: that is healthy. */
  #decodesForLong(): boolean {
    if (this.#frames !== null || this.#isCaughtUp) return false
    const forMs = this.#server.faults.delayMs('walsender decodes for long', 0.01, DECODING_MS)
    if (forMs === 0) return false
    const { backend } = this.#session
    this.#isDecoding = true
    backend.waits = null
    this.#server.scheduler.after(forMs, () => {
      this.#isDecoding = false
      backend.waits = 'Activity'
      this.keepalive(false)
      this.wake()
    })
    return true
  }

  #current = 0

  #nextFrame(): Frame | null {
    const { model } = this.#server
    for (;;) {
      if (this.#frames === null) {
        const transaction = model.committed[this.#next]
        if (transaction === undefined || transaction.end > model.log.flushed) return null
        this.#current = this.#next++
        if (transaction.number <= this.#server.newestSent) this.#server.faults.tally('redelivery')
        else this.#server.newestSent = transaction.number
        this.#frameNumber = 0
        this.#frames = this.#encoder.frames(transaction)[Symbol.iterator]()
      }
      const { value, done } = this.#frames.next()
      if (done !== true) {
        this.#frameNumber++
        return value as Frame
      }
      this.#frames = null
      this.#sent = Math.max(this.#sent, model.committed[this.#current]!.end)
    }
  }

  #caughtUp(): void {
    const { flushed } = this.#server.model.log
    const isNews = flushed > this.#sent
    this.#sent = Math.max(this.#sent, flushed)
    if (isNews) this.keepalive(false)
  }

  /** What it says is `sent`: proof of life, and of nothing else. */
  keepalive(asksReply: boolean): void {
    if (this.#isDecoding) return
    const message = Buffer.alloc(23)
    message[0] = COPY_DATA
    message.writeUInt32BE(22, 1)
    message[5] = KEEPALIVE
    message.writeBigUInt64BE(BigInt(this.#sent), 6)
    message[22] = asksReply ? 1 : 0
    this.#ship([message], false)
  }

  #framed({ at, payload, change }: Frame): Buffer {
    const { trace, coverage } = this.#server
    const message = Buffer.allocUnsafe(30 + payload.length)
    message[0] = COPY_DATA
    message.writeUInt32BE(29 + payload.length, 1)
    message[5] = XLOG_DATA
    message.writeUInt32BE(Math.floor(at / 0x1_0000_0000), 6)
    message.writeUInt32BE(at % 0x1_0000_0000, 10)
    message.writeUInt32BE(message.readUInt32BE(6), 14)
    message.writeUInt32BE(message.readUInt32BE(10), 18)
    message.fill(0, 22, 30)
    payload.copy(message, 30)
    trace.bytes(payload)
    coverage.frame(this.#server.model.committed[this.#current]!.number, this.#frameNumber, change)
    return message
  }

  /** Hands what was made to the network, in pieces that have nothing to do with frames. */
  #ship(parts: readonly Buffer[], tearsLast: boolean): void {
    if (parts.length === 0) return
    const { random, faults } = this.#server
    let bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
    // The connection may also break in the middle of the frame.
    if (tearsLast && faults.strikes('cut inside a frame', 0.2))
      bytes = Buffer.from(
        bytes.subarray(0, bytes.length - random.between(1, Math.min(parts.at(-1)!.length - 1, 40))),
      )
    if (bytes.length > 1 && faults.strikes('split packets', 0.2)) {
      const at = random.between(1, bytes.length - 1)
      this.#shipChunk(Buffer.from(bytes.subarray(0, at)))
      this.#shipChunk(Buffer.from(bytes.subarray(at)))
    } else this.#shipChunk(bytes)
  }

  #shipChunk(chunk: Buffer): void {
    this.#bytesUnderWay += chunk.length
    this.#session.down.send(() => this.#deliver(chunk))
  }

  /** A client that says nothing for too long is given up; it is asked first. */
  #watch(): void {
    const timeoutMs = this.#server.walSenderTimeoutMs
    if (timeoutMs === 0) return
    this.#cancelTimeout = this.#server.scheduler.after(timeoutMs / 4, () => {
      if (this.#isStopped) return
      const silentMs = this.#server.scheduler.nowMs - this.#heardMs
      if (silentMs >= timeoutMs) {
        this.#server.faults.count('wal_sender_timeout')
        this.stop()
        this.#session.endByServer(
          new FatalServerError('08006', 'terminating walsender process due to replication timeout'),
        )
        return
      }
      if (silentMs >= timeoutMs / 2 && !this.#hasAsked) {
        this.#hasAsked = true
        this.keepalive(true)
      }
      this.#watch()
    })
  }
}
