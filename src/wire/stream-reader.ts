import { ConnectionError } from '../errors.js'
import type { StreamHandlers } from '../runtime.js'

// The tags of the server's messages, and of what is inside a CopyData message while it streams.
const COPY_DATA = 0x64 // d
const COPY_BOTH_RESPONSE = 0x57 // W
const XLOG_DATA = 0x77 // w
const KEEPALIVE = 0x6b // k

/** Every message: a tag, and a length that counts itself but not the tag. */
const HEADER_BYTES = 5
/** XLogData: its tag, where the WAL begins, where it ends, when it was sent; then the payload. */
const XLOG_HEADER_BYTES = 25
/** A keepalive: its tag, where the WAL ends, when it was sent, whether a reply is asked for. */
const KEEPALIVE_BYTES = 18
/** PostgreSQL builds a message in one allocation, which is at most 1 GB. */
const MAX_MESSAGE_BYTES = 0x4000_0000

/** Takes no notice of frames. */
export const ignoring: StreamHandlers = { onData: () => undefined, onKeepalive: () => undefined }

/**
 * Cuts what a replication connection receives into messages: the stream's frames go to the handlers, all other messages,
 * whole, to `pg`.
 *
 * `pg` would make three objects and two events of each frame, and overwrite its bytes afterwards, so that they would have
 * to be copied; a socket's chunk is never overwritten, so here they stay where they are.
 *
 * @see https://www.postgresql.org/docs/current/protocol-replication.html
 */
export class StreamReader {
  // The beginning of a message that did not end with its chunk.
  #pieces: Buffer[] = []
  #pieceBytes = 0
  #messageBytes = 0

  /** What the stream's frames are handed to. */
  handlers: StreamHandlers = ignoring

  /** `onStart` is called when the server has switched to streaming. */
  constructor(
    readonly onStart: () => void,
    readonly onOther: (message: Buffer) => void,
  ) {}

  /**
   * Takes the next bytes of the connection.
   *
   * @throws {ConnectionError} if they are not what the protocol says; the connection is of no use then.
   */
  // Hot: the loop runs once per frame.
  read(chunk: Buffer): void {
    let at = this.#pieceBytes === 0 ? 0 : this.#completeMessage(chunk)
    const end = chunk.length
    while (end - at >= HEADER_BYTES) {
      const length = messageLength(chunk, at)
      if (length > end - at) break
      this.#dispatch(chunk, at, at + length)
      at += length
    }
    if (at < end) this.#keep(chunk.subarray(at))
  }

  #keep(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#pieceBytes += piece.length
    this.#messageBytes = piece.length < HEADER_BYTES ? 0 : messageLength(piece, 0)
  }

  /** Completes the message that began in an earlier chunk; returns how much of `chunk` belongs to it. */
  #completeMessage(chunk: Buffer): number {
    let taken = 0
    if (this.#messageBytes === 0) {
      taken = this.#take(chunk, 0, HEADER_BYTES)
      if (this.#pieceBytes < HEADER_BYTES) return taken
      this.#messageBytes = messageLength(Buffer.concat(this.#pieces), 0)
    }
    taken += this.#take(chunk, taken, this.#messageBytes)
    if (this.#pieceBytes < this.#messageBytes) return taken
    const message = Buffer.concat(this.#pieces, this.#pieceBytes)
    this.#pieces = []
    this.#pieceBytes = 0
    this.#messageBytes = 0
    this.#dispatch(message, 0, message.length)
    return taken
  }

  #take(chunk: Buffer, from: number, wantedBytes: number): number {
    const count = Math.min(wantedBytes - this.#pieceBytes, chunk.length - from)
    if (count > 0) this.#pieces.push(chunk.subarray(from, from + count))
    this.#pieceBytes += count
    return count
  }

  #dispatch(bytes: Buffer, start: number, end: number): void {
    if (bytes[start] === COPY_DATA) {
      this.#frame(bytes, start + HEADER_BYTES, end)
      return
    }
    this.onOther(bytes.subarray(start, end))
    if (bytes[start] === COPY_BOTH_RESPONSE) this.onStart()
  }

  #frame(bytes: Buffer, start: number, end: number): void {
    const size = end - start
    const tag = size === 0 ? 0 : bytes[start]!
    if (tag === XLOG_DATA && size >= XLOG_HEADER_BYTES) {
      this.handlers.onData(
        uint32(bytes, start + 1),
        uint32(bytes, start + 5),
        bytes,
        start + XLOG_HEADER_BYTES,
        end,
      )
    } else if (tag === KEEPALIVE && size >= KEEPALIVE_BYTES) {
      this.handlers.onKeepalive(uint32(bytes, start + 1), uint32(bytes, start + 5), bytes[start + 17] !== 0)
    } else {
      throw protocolError(`a frame of ${size} bytes with the tag 0x${tag.toString(16)}`)
    }
  }
}

function messageLength(bytes: Buffer, at: number): number {
  const length = uint32(bytes, at + 1)
  if (length < 4 || length > MAX_MESSAGE_BYTES) throw protocolError(`a message of ${length} bytes`)
  return length + 1
}

function uint32(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

function protocolError(what: string): ConnectionError {
  const message = `The replication stream holds ${what}, which PostgreSQL never sends. The cache connects anew.`
  return new ConnectionError('protocol', message, true)
}
