/** Positions are whole numbers here: 2^53 bytes of log are enough for a simulation. */
export type Position = number

const WAL_BLOCK_BYTES = 8192
const WAL_SEGMENT_BYTES = 16 * 1024 * 1024
const SHORT_HEADER = 24
const LONG_HEADER = 40

export const LOG_SIZES = { walBlockBytes: WAL_BLOCK_BYTES, walSegmentBytes: WAL_SEGMENT_BYTES }

export function lsnText(position: Position): string {
  return `${Math.floor(position / 0x1_0000_0000).toString(16)}/${(position % 0x1_0000_0000).toString(16)}`.toUpperCase()
}

export function parsePosition(text: string): Position {
  const [high, low] = text.split('/')
  return Number.parseInt(high!, 16) * 0x1_0000_0000 + Number.parseInt(low!, 16)
}

/** Where the log ends, and how far it is on disk. */
export class Log {
  #end: Position
  #flushed: Position

  constructor(start: Position) {
    this.#end = start
    this.#flushed = start
  }

  /** Where the last record ends. */
  get end(): Position {
    return this.#end
  }

  /** `pg_current_wal_insert_lsn()`: behind the next page's header, if the last record ends exactly at a page's end. */
  get insert(): Position {
    return this.#end % WAL_BLOCK_BYTES === 0 ? this.#end + header(this.#end) : this.#end
  }

  /** Only what is flushed is streamed, and survives a crash. */
  get flushed(): Position {
    return this.#flushed
  }

  /** Writes a record; returns where it begins. */
  write(bytes: number): Position {
    const start = this.insert
    let left = Math.ceil(bytes / 8) * 8
    let at = start
    for (;;) {
      const room = WAL_BLOCK_BYTES - (at % WAL_BLOCK_BYTES)
      if (left <= room) break
      left -= room
      at += room
      at += header(at)
    }
    this.#end = at + left
    return start
  }

  /** The size of a record that would end exactly at the page's end. */
  get roomInPage(): number {
    const room = WAL_BLOCK_BYTES - (this.insert % WAL_BLOCK_BYTES)
    return room === WAL_BLOCK_BYTES ? 64 : room
  }

  flush(position: Position = this.#end): void {
    this.#flushed = Math.max(this.#flushed, Math.min(position, this.#end))
  }

  /** What was not written to disk never was; or the log of a standby that had received less. */
  cut(position: Position): void {
    this.#end = position
    this.#flushed = position
  }
}

function header(pageStart: Position): number {
  return pageStart % WAL_SEGMENT_BYTES === 0 ? LONG_HEADER : SHORT_HEADER
}
