/** Above this the socket is no longer read, so that the server waits for us instead of filling our memory. */
export const HIGH_WATER_BYTES = 8 * 1024 * 1024
/** Below this it is read again: far enough under the mark above not to stop and go for each chunk. */
export const LOW_WATER_BYTES = 4 * 1024 * 1024

/** Per frame: the position's upper and lower half, where the payload begins and where it ends. */
const RECORD_INTS = 4
const RECORD_BYTES = RECORD_INTS * Int32Array.BYTES_PER_ELEMENT
const INITIAL_RECORDS = 1024
/** Stands in place of a payload's beginning. */
const KEEPALIVE = -1
const NO_BYTES = new Uint8Array(0)

/** What stops and resumes the flow into the queue. */
export interface Flow {
  pause(): void
  resume(): void
}

/**
 * Frames that have arrived and wait to be decoded: change frames and keepalives in one line, so that a keepalive's
 * position is reached only after what came before it.
 *
 * Payloads stay where the socket put them; what is kept per frame is four integers, and what is freed is a whole
 * chunk, once its last frame has been shifted.
 */
export class FrameQueue {
  /** The frame shifted last. `bytes` is empty for a keepalive. */
  isKeepalive = false
  lsnHigh = 0
  lsnLow = 0
  bytes: Uint8Array = NO_BYTES
  start = 0
  end = 0

  // A ring of records; its capacity is a power of two.
  #records = new Int32Array(INITIAL_RECORDS * RECORD_INTS)
  #mask = INITIAL_RECORDS - 1
  #head = 0
  #length = 0
  // The chunks that the queued payloads lie in, oldest first, and how many queued frames each still has.
  readonly #chunks: Uint8Array[] = []
  readonly #framesLeft: number[] = []
  #oldestChunk = 0
  #chunkBytes = 0
  #isPaused = false

  constructor(
    readonly flow: Flow,
    readonly highWaterBytes = HIGH_WATER_BYTES,
    readonly lowWaterBytes = LOW_WATER_BYTES,
  ) {}

  /** How many frames wait. */
  get length(): number {
    return this.#length
  }

  /** What the waiting frames keep in memory. */
  get heldBytes(): number {
    return this.#chunkBytes + this.#length * RECORD_BYTES
  }

  /** Whether the flow was asked to pause. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  // Hot: once per frame.
  pushData(lsnHigh: number, lsnLow: number, bytes: Uint8Array, start: number, end: number): void {
    const newest = this.#chunks.length - 1
    if (newest >= this.#oldestChunk && this.#chunks[newest] === bytes) this.#framesLeft[newest]!++
    else {
      this.#chunks.push(bytes)
      this.#framesLeft.push(1)
      this.#chunkBytes += bytes.byteLength
    }
    this.#push(lsnHigh, lsnLow, start, end)
  }

  pushKeepalive(lsnHigh: number, lsnLow: number): void {
    this.#push(lsnHigh, lsnLow, KEEPALIVE, KEEPALIVE)
  }

  /**
   * Takes the oldest frame into the fields above; false if there is none. Its bytes stay good until the next call.
   */
  // Hot: once per frame.
  shift(): boolean {
    if (this.#length === 0) return false
    const at = this.#head * RECORD_INTS
    const records = this.#records
    this.lsnHigh = records[at]! >>> 0
    this.lsnLow = records[at + 1]! >>> 0
    this.start = records[at + 2]!
    this.end = records[at + 3]!
    this.#head = (this.#head + 1) & this.#mask
    this.#length--
    this.isKeepalive = this.start === KEEPALIVE
    if (this.isKeepalive) this.bytes = NO_BYTES
    else this.#takeFromOldestChunk()
    if (this.#isPaused && this.heldBytes <= this.lowWaterBytes) this.#resume()
    return true
  }

  /** Forgets all waiting frames. The flow is left as it is: its connection is at its end. */
  clear(): void {
    this.#length = 0
    this.#chunks.length = 0
    this.#framesLeft.length = 0
    this.#oldestChunk = 0
    this.#chunkBytes = 0
    this.bytes = NO_BYTES
  }

  #push(lsnHigh: number, lsnLow: number, start: number, end: number): void {
    if (this.#length > this.#mask) this.#grow()
    const at = ((this.#head + this.#length) & this.#mask) * RECORD_INTS
    const records = this.#records
    records[at] = lsnHigh
    records[at + 1] = lsnLow
    records[at + 2] = start
    records[at + 3] = end
    this.#length++
    if (!this.#isPaused && this.heldBytes >= this.highWaterBytes) this.#pause()
  }

  #takeFromOldestChunk(): void {
    const oldest = this.#oldestChunk
    this.bytes = this.#chunks[oldest]!
    if (--this.#framesLeft[oldest]! > 0) return
    this.#chunkBytes -= this.bytes.byteLength
    this.#chunks[oldest] = NO_BYTES
    this.#oldestChunk++
    if (this.#oldestChunk === this.#chunks.length || this.#oldestChunk > INITIAL_RECORDS)
      this.#dropFreedChunks()
  }

  #dropFreedChunks(): void {
    this.#chunks.splice(0, this.#oldestChunk)
    this.#framesLeft.splice(0, this.#oldestChunk)
    this.#oldestChunk = 0
  }

  #grow(): void {
    const capacity = (this.#mask + 1) * 2
    const records = new Int32Array(capacity * RECORD_INTS)
    // Unroll the ring: from its head to the array's end, then the part that had wrapped around.
    const head = this.#head * RECORD_INTS
    records.set(this.#records.subarray(head))
    records.set(this.#records.subarray(0, head), this.#records.length - head)
    this.#records = records
    this.#mask = capacity - 1
    this.#head = 0
  }

  #pause(): void {
    this.#isPaused = true
    this.flow.pause()
  }

  #resume(): void {
    this.#isPaused = false
    this.flow.resume()
  }
}
