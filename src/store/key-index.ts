import { assert } from '../errors.js'
import type { Address, RowId } from './address.js'
import type { MemoryAccount } from './memory.js'

const SEGMENT_SLOTS = 1024
const SLOT_MASK = SEGMENT_SLOTS - 1
/**
 * Three 32-bit words a slot: row id + 1 (0: empty), the key's hash, and the address of the row's newest version. The address stands in the
 * row's own entry as well; here it saves a look-up the step to a third place in memory, and that is most of what a cold read costs.
 */
const SLOT_WORDS = 3
const SEGMENT_WORDS = SEGMENT_SLOTS * SLOT_WORDS
/** A segment with more entries is split. */
const SEGMENT_FULL = Math.floor(SEGMENT_SLOTS * 0.85)

const PAGE_SEGMENTS = 32
const PAGE_WORDS = PAGE_SEGMENTS * SEGMENT_WORDS
const PAGE_BYTES = PAGE_WORDS * 4

const NO_PAGE = new Uint32Array(SLOT_WORDS)

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
  /** The newest version of the row in that entry. */
  foundHead: Address = 0
  #foundPage: Uint32Array = NO_PAGE
  #foundPlace = 0
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
      const place = base + (at & SLOT_MASK) * SLOT_WORDS
      const entry = page[place]!
      if (entry === 0) return -1
      if (page[place + 1] === hash) {
        this.foundSlot = at
        this.foundHead = page[place + 2]!
        this.#foundPage = page
        this.#foundPlace = place
        return entry - 1
      }
    }
  }

  /** Changes the newest version in the entry that `next` found last. The index must not have changed since. */
  setFoundHead(head: Address): void {
    this.#foundPage[this.#foundPlace + 2] = head
  }

  /** Changes the newest version in the entry of this row. */
  setHead(hash: number, rowId: RowId, head: Address): void {
    let row = this.next(hash, homeSlot(hash))
    while (row !== rowId) {
      assert(row >= 0, 'a row with a version is in the key index')
      row = this.next(hash, this.foundSlot + 1)
    }
    this.setFoundHead(head)
  }

  /** @throws {MemoryLimitError} if the index would have to grow and may not. Nothing has changed then. */
  insert(hash: number, rowId: RowId, head: Address): void {
    if (this.#directory.length === 0) this.#directory = [this.#addSegment(0)]
    let segment = this.#segmentOf(hash)
    while (this.#segmentCount[segment]! >= SEGMENT_FULL) {
      this.#split(segment, hash)
      segment = this.#segmentOf(hash)
    }
    this.#put(segment, hash, rowId, head)
  }

  #segmentOf(hash: number): number {
    return this.#directory[this.#depth === 0 ? 0 : hash >>> (32 - this.#depth)]!
  }

  #put(segment: number, hash: number, rowId: RowId, head: Address): void {
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * SEGMENT_WORDS
    let slot = hash & SLOT_MASK
    while (page[base + slot * SLOT_WORDS] !== 0) slot = (slot + 1) & SLOT_MASK
    const place = base + slot * SLOT_WORDS
    page[place] = rowId + 1
    page[place + 1] = hash
    page[place + 2] = head
    this.#segmentCount[segment]!++
  }

  /** Removes the entry of this row. */
  remove(hash: number, rowId: RowId): void {
    const segment = this.#segmentOf(hash)
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * SEGMENT_WORDS
    let slot = hash & SLOT_MASK
    while (page[base + slot * SLOT_WORDS] !== rowId + 1) {
      assert(page[base + slot * SLOT_WORDS] !== 0, 'a row that is taken out of the key index is in it')
      slot = (slot + 1) & SLOT_MASK
    }
    // Entries behind the gap move up, so that every search still ends at the first empty slot.
    let probe = (slot + 1) & SLOT_MASK
    for (let from = base + probe * SLOT_WORDS; page[from] !== 0; from = base + probe * SLOT_WORDS) {
      const home = page[from + 1]! & SLOT_MASK
      if (((probe - home) & SLOT_MASK) >= ((probe - slot) & SLOT_MASK)) {
        page.copyWithin(base + slot * SLOT_WORDS, from, from + SLOT_WORDS)
        slot = probe
      }
      probe = (probe + 1) & SLOT_MASK
    }
    page[base + slot * SLOT_WORDS] = 0
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
    this.#foundPage = NO_PAGE
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
    for (let place = 0; place < SEGMENT_WORDS; place += SLOT_WORDS) {
      const entry = entries[place]!
      if (entry === 0) continue
      const hash = entries[place + 1]!
      this.#put((hash & bit) !== 0 ? sibling : segment, hash, entry - 1, entries[place + 2]!)
    }
  }
}
