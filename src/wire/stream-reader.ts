import type { StreamHandlers } from '../runtime.js'
import { HEADER_BYTES, MessageReader, uint32 } from './message-reader.js'

// The tag of the message that begins the stream, and of what is inside a CopyData message while it streams.
const COPY_BOTH_RESPONSE = 0x57 // W
const XLOG_DATA = 0x77 // w
const KEEPALIVE = 0x6b // k

/** XLogData: its tag, where the WAL begins, where it ends, when it was sent; then the payload. */
const XLOG_HEADER_BYTES = 25
/** A keepalive: its tag, where the WAL ends, when it was sent, whether a reply is asked for. */
const KEEPALIVE_BYTES = 18

/** Takes no notice of frames. */
export const ignoring: StreamHandlers = { onData: () => undefined, onKeepalive: () => undefined }

/**
 * Reads what a replication connection receives: the stream's frames go to the handlers, all other messages to `pg`.
 *
 * @see https://www.postgresql.org/docs/current/protocol-replication.html
 */
export class StreamReader extends MessageReader {
  /** What the stream's frames are handed to. */
  handlers: StreamHandlers = ignoring

  /** `onStart` is called when the server has switched to streaming. */
  constructor(
    readonly onStart: () => void,
    readonly onOther: (message: Buffer) => void,
  ) {
    super('The replication stream')
  }

  protected override other(message: Buffer): void {
    this.onOther(message)
    if (message[0] === COPY_BOTH_RESPONSE) this.onStart()
  }

  protected override copyData(bytes: Buffer, messageStart: number, end: number): void {
    const start = messageStart + HEADER_BYTES
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
      throw this.protocolError(`a frame of ${size} bytes with the tag 0x${tag.toString(16)}`)
    }
  }
}
