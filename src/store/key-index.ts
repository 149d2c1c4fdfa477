import { assert } from '../errors.js'
import type { RowId } from './address.js'
import type { MemoryAccount } from './memory.js'

const SEGMENT_SLOTS = 1024
const SLOT_MASK = SEGMENT_SLOTS - 1
/** Two 32-bit words a slot: row id + 1 (0: empty), and the key's hash. */
const SEGMENT_WORDS = SEGMENT_SLOTS * 2
/** A segment with more entries is split. */
const SEGMENT_FULL = Math.floor(SEGMENT_SLOTS * 0.85)

const PAGE_SEGMENTS = 32
const PAGE_WORDS = PAGE_SEGMENTS * SEGMENT_WORDS
const PAGE_BYTES = PAGE_WORDS * 4

/** Beyond this the hash, not the number of keys, fills a segment. */
const DEPTH_MAX = 28

export function homeSlot(hash: number): number {
  return hash & SLOT_MASK
}

/**
 * From a key's hash to the rows that may have it: extendible hashing over segments of open addressing, in typed arrays.
 *
 * It grows by splitting one segment at a time, so that no insertion stops the world to rehash millions of keys. It knows rows by
 * their ids and not by address; whether a row really has the key is the caller's to compare, on equal hashes only.
 */
export class KeyIndex {
  readonly #memory: MemoryAccount
  readonly #pages: Uint32Array[] = []
  /** From a hash's upper bits to a segment. */
  #directory: number[] = []
  #depth = 0
  /** Where `next` found its last entry. */
  foundSlot = 0
  readonly #segmentDepth: number[] = []
  readonly #segmentCount: number[] = []

  constructor(memory: MemoryAccount) {
    this.#memory = memory
  }

  /**
   * The row id of the first entry with `hash` (an unsigned 32-bit integer) at or after `slot` in the hash's segment; -1 if there is none.
   * A search begins at slot `hash & SLOT_MASK`, which `homeSlot` gives, and goes on at `foundSlot + 1`.
   */
  next(hash: number, slot: number): RowId {
    if (this.#directory.length === 0) return -1
    const segment = this.#segmentOf(hash)
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * SEGMENT_WORDS
    for (let at = slot; ; at++) {
      const place = base + (at & SLOT_MASK) * 2
      const entry = page[place]!
      if (entry === 0) return -1
      if (page[place + 1] === hash) {
        this.foundSlot = at
        return entry - 1
      }
    }
  }

  /** @throws {MemoryLimitError} if the index would have to grow and may not. Nothing has changed then. */
  insert(hash: number, rowId: RowId): void {
    if (this.#directory.length === 0) this.#directory = [this.#addSegment(0)]
    let segment = this.#segmentOf(hash)
    while (this.#segmentCount[segment]! >= SEGMENT_FULL) {
      this.#split(segment, hash)
      segment = this.#segmentOf(hash)
    }
    this.#put(segment, hash, rowId)
  }

  #segmentOf(hash: number): number {
    return this.#directory[this.#depth === 0 ? 0 : hash >>> (32 - this.#depth)]!
  }

  #put(segment: number, hash: number, rowId: RowId): void {
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * SEGMENT_WORDS
    let slot = hash & SLOT_MASK
    while (page[base + slot * 2] !== 0) slot = (slot + 1) & SLOT_MASK
    page[base + slot * 2] = rowId + 1
    page[base + slot * 2 + 1] = hash
    this.#segmentCount[segment]!++
  }

  /** Removes the entry of this row. */
  remove(hash: number, rowId: RowId): void {
    const segment = this.#segmentOf(hash)
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * SEGMENT_WORDS
    let slot = hash & SLOT_MASK
    while (page[base + slot * 2] !== rowId + 1) {
      assert(page[base + slot * 2] !== 0, 'a row that is taken out of the key index is in it')
      slot = (slot + 1) & SLOT_MASK
    }
    // Entries behind the gap move up, so that every search still ends at the first empty slot.
    for (let probe = (slot + 1) & SLOT_MASK; page[base + probe * 2] !== 0; probe = (probe + 1) & SLOT_MASK) {
      const home = page[base + probe * 2 + 1]! & SLOT_MASK
      if (((probe - home) & SLOT_MASK) >= ((probe - slot) & SLOT_MASK)) {
        page[base + slot * 2] = page[base + probe * 2]!
        page[base + slot * 2 + 1] = page[base + probe * 2 + 1]!
        slot = probe
      }
    }
    page[base + slot * 2] = 0
    this.#segmentCount[segment]!--
  }

  /** Gives every page back at once. */
  clear(): void {
    this.#memory.give(this.#pages.length * PAGE_BYTES)
    this.#pages.length = 0
    this.#directory = []
    this.#depth = 0
    this.#segmentDepth.length = 0
    this.#segmentCount.length = 0
  }

  #addSegment(depth: number): number {
    const segment = this.#segmentDepth.length
    if (segment >>> 5 === this.#pages.length) {
      this.#memory.take(PAGE_BYTES)
      this.#pages.push(new Uint32Array(PAGE_WORDS))
    }
    this.#segmentDepth.push(depth)
    this.#segmentCount.push(0)
    return segment
  }

  /** Moves the entries of `segment` whose next hash bit is 1 to a new segment. */
  #split(segment: number, hash: number): void {
    const depth = this.#segmentDepth[segment]!
    assert(depth < DEPTH_MAX, 'the hash spreads keys over segments')
    const sibling = this.#addSegment(depth + 1)
    this.#segmentDepth[segment] = depth + 1
    if (depth === this.#depth) this.#doubleDirectory()
    this.#pointToSibling(hash, depth, sibling)
    this.#share(segment, sibling, depth)
  }

  #doubleDirectory(): void {
    const wider = new Array<number>(this.#directory.length * 2)
    for (let i = 0; i < this.#directory.length; i++) wider[2 * i] = wider[2 * i + 1] = this.#directory[i]!
    this.#directory = wider
    this.#depth++
  }

  /** The upper half of the directory's entries for the segment that `hash` was in, by `depth` bits, now names the sibling. */
  #pointToSibling(hash: number, depth: number, sibling: number): void {
    const span = 1 << (this.#depth - depth)
    const first = depth === 0 ? 0 : (hash >>> (32 - depth)) * span
    for (let i = first + span / 2; i < first + span; i++) this.#directory[i] = sibling
  }

  #share(segment: number, sibling: number, depth: number): void {
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * SEGMENT_WORDS
    const entries = page.slice(base, base + SEGMENT_WORDS)
    page.fill(0, base, base + SEGMENT_WORDS)
    this.#segmentCount[segment] = 0
    const bit = 0x8000_0000 >>> depth
    for (let place = 0; place < SEGMENT_WORDS; place += 2) {
      const entry = entries[place]!
      if (entry === 0) continue
      const hash = entries[place + 1]!
      this.#put((hash & bit) !== 0 ? sibling : segment, hash, entry - 1)
    }
  }
}
