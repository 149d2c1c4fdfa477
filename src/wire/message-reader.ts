import { ConnectionError } from '../errors.js'

const COPY_DATA = 0x64 // d

/** Every message: a tag, and a length that counts itself but not the tag. */
export const HEADER_BYTES = 5
/** PostgreSQL builds a message in one allocation, which is at most 1 GB. */
const MAX_MESSAGE_BYTES = 0x4000_0000

/**
 * Cuts what a connection receives into messages. CopyData, of which there are millions, is told where it lies; all other messages are
 * for `pg`, whole.
 *
 * `pg` would make three objects and two events of each CopyData, and overwrite its bytes afterwards, so that they would have
 * to be copied; a socket's chunk is never overwritten, so here they stay where they are.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export abstract class MessageReader {
  readonly #from: string
  // The beginning of a message that did not end with its chunk.
  #pieces: Buffer[] = []
  #pieceBytes = 0
  #messageBytes = 0

  /** `from` says in an error what the bytes are of. */
  constructor(from: string) {
    this.#from = from
  }

  /** A CopyData message: its tag is at `start`, its content is from `HEADER_BYTES` later on to `end`. Nobody writes to `bytes` any more. */
  protected abstract copyData(bytes: Buffer, start: number, end: number): void
  protected abstract other(message: Buffer): void

  /**
   * Takes the next bytes of the connection.
   *
   * @throws {ConnectionError} if they are not what the protocol says; the connection is of no use then.
   */
  // Hot: the loop runs once per message.
  read(chunk: Buffer): void {
    let at = this.#pieceBytes === 0 ? 0 : this.#completeMessage(chunk)
    const end = chunk.length
    while (end - at >= HEADER_BYTES) {
      const length = this.#messageLength(chunk, at)
      if (length > end - at) break
      this.#dispatch(chunk, at, at + length)
      at += length
    }
    if (at < end) this.#keep(chunk.subarray(at))
  }

  #keep(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#pieceBytes += piece.length
    this.#messageBytes = piece.length < HEADER_BYTES ? 0 : this.#messageLength(piece, 0)
  }

  /** Completes the message that began in an earlier chunk; returns how much of `chunk` belongs to it. */
  #completeMessage(chunk: Buffer): number {
    let taken = 0
    if (this.#messageBytes === 0) {
      taken = this.#take(chunk, 0, HEADER_BYTES)
      if (this.#pieceBytes < HEADER_BYTES) return taken
      this.#messageBytes = this.#messageLength(Buffer.concat(this.#pieces), 0)
    }
    taken += this.#take(chunk, taken, this.#messageBytes)
    if (this.#pieceBytes < this.#messageBytes) return taken
    const message = this.takeRest()
    this.#dispatch(message, 0, message.length)
    return taken
  }

  /** The beginning of a message whose end has not arrived; it is forgotten here. */
  protected takeRest(): Buffer {
    const rest = Buffer.concat(this.#pieces, this.#pieceBytes)
    this.#pieces = []
    this.#pieceBytes = 0
    this.#messageBytes = 0
    return rest
  }

  #take(chunk: Buffer, from: number, wantedBytes: number): number {
    const count = Math.min(wantedBytes - this.#pieceBytes, chunk.length - from)
    if (count > 0) this.#pieces.push(chunk.subarray(from, from + count))
    this.#pieceBytes += count
    return count
  }

  #dispatch(bytes: Buffer, start: number, end: number): void {
    if (bytes[start] === COPY_DATA) this.copyData(bytes, start, end)
    else this.other(bytes.subarray(start, end))
  }

  #messageLength(bytes: Buffer, at: number): number {
    const length = uint32(bytes, at + 1)
    if (length < 4 || length > MAX_MESSAGE_BYTES) throw this.protocolError(`a message of ${length} bytes`)
    return length + 1
  }

  protected protocolError(what: string): ConnectionError {
    const message = `${this.#from} holds ${what}, which PostgreSQL never sends. The cache connects anew.`
    return new ConnectionError('protocol', message, true)
  }
}

/** The unsigned integer at this place, as the protocol writes it. */
export function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}
