import { assert } from '../errors.js'
import { type Address, NONE, type RowId } from './address.js'
import type { MemoryAccount } from './memory.js'

const SEGMENT_SLOTS = 1024
const SLOT_MASK = SEGMENT_SLOTS - 1
/** 32-bit words of a slot: row id + 1 (0: empty), and the hash. */
const SLOT_WORDS = 2
/**
 * And the address of the row's newest version. It stands in the row's own entry as well; here it saves a look-up by key the step to a third
 * place in memory, and that is most of what a cold read costs.
 */
const HEADED_SLOT_WORDS = 3
/** A segment with more entries is split. */
const SEGMENT_FULL = Math.floor(SEGMENT_SLOTS * 0.85)

const PAGE_SEGMENTS = 32

/** No address: there is more than one. */
export const SEVERAL = -1

const NO_PAGE = new Uint32Array(HEADED_SLOT_WORDS)

/** Beyond this the hash, not the number of keys, fills a segment. */
const DEPTH_MAX = 28

export function homeSlot(hash: number): number {
  return hash & SLOT_MASK
}

/**
 * From a hash to the rows that may have what was hashed: extendible hashing over segments of open addressing, in typed arrays.
 *
 * It grows by splitting one segment at a time, so that no insertion stops the world to rehash millions of entries. It knows rows by
 * their ids and not by address; whether a row really has the value is the caller's to compare, on equal hashes only. Equal hashes lie
 * in one segment whatever it is split into, so there may be some dozens of entries with one hash, and not more.
 */
export class HashIndex {
  readonly #memory: MemoryAccount
  readonly #slotWords: number
  readonly #segmentWords: number
  readonly #pageBytes: number
  readonly #pages: Uint32Array[] = []
  /** From a hash's upper bits to a segment. */
  #directory: number[] = []
  #depth = 0
  /** Where `next` found its last entry. */
  foundSlot = 0
  #foundPage: Uint32Array = NO_PAGE
  #foundPlace = 0
  readonly #segmentDepth: number[] = []
  readonly #segmentCount: number[] = []

  /** `withHeads`: an entry holds the newest version of its row, too. */
  constructor(memory: MemoryAccount, withHeads: boolean) {
    this.#memory = memory
    this.#slotWords = withHeads ? HEADED_SLOT_WORDS : SLOT_WORDS
    this.#segmentWords = SEGMENT_SLOTS * this.#slotWords
    this.#pageBytes = PAGE_SEGMENTS * this.#segmentWords * 4
  }

  /**
   * The row id of the first entry with `hash` (an unsigned 32-bit integer) at or after `slot` in the hash's segment; -1 if there is none.
   * A search begins at slot `hash & SLOT_MASK`, which `homeSlot` gives, and goes on at `foundSlot + 1`.
   */
  next(hash: number, slot: number): RowId {
    if (this.#directory.length === 0) return -1
    const segment = this.#segmentOf(hash)
    const page = this.#pages[segment >>> 5]!
    const words = this.#slotWords
    const base = (segment & (PAGE_SEGMENTS - 1)) * this.#segmentWords
    for (let at = slot; ; at++) {
      const place = base + (at & SLOT_MASK) * words
      const entry = page[place]!
      if (entry === 0) return -1
      if (page[place + 1] === hash) {
        this.foundSlot = at
        this.#foundPage = page
        this.#foundPlace = place
        return entry - 1
      }
    }
  }

  /**
   * The newest version in the only entry with `hash`; NONE if there is no entry, SEVERAL if there are more, or if it is of row `other`. Only where entries
   * have heads. Hot: once per look-up by a unique key.
   */
  onlyHead(hash: number, other: RowId): Address {
    if (this.#directory.length === 0) return NONE
    const segment = this.#segmentOf(hash)
    const page = this.#pages[segment >>> 5]!
    const base = (segment & (PAGE_SEGMENTS - 1)) * this.#segmentWords
    let head: Address = NONE
    for (let at = homeSlot(hash); ; at++) {
      const place = base + (at & SLOT_MASK) * HEADED_SLOT_WORDS
      const entry = page[place]!
      if (entry === 0) return head
      if (page[place + 1] !== hash) continue
      if (head !== NONE || entry - 1 === other) return SEVERAL
      head = page[place + 2]!
    }
  }

  /** The newest version of the row in the entry that `next` found last. */
  get foundHead(): Address {
    return this.#foundPage[this.#foundPlace + 2]!
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
  insert(hash: number, rowId: RowId, head: Address = NONE): void {
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
    const words = this.#slotWords
    const base = (segment & (PAGE_SEGMENTS - 1)) * this.#segmentWords
    let slot = hash & SLOT_MASK
    while (page[base + slot * words] !== 0) slot = (slot + 1) & SLOT_MASK
    const place = base + slot * words
    page[place] = rowId + 1
    page[place + 1] = hash
    if (words === HEADED_SLOT_WORDS) page[place + 2] = head
    this.#segmentCount[segment]!++
  }

  /** Removes the entry of this row, which must be there. */
  remove(hash: number, rowId: RowId): void {
    const segment = this.#segmentOf(hash)
    const page = this.#pages[segment >>> 5]!
    const words = this.#slotWords
    const base = (segment & (PAGE_SEGMENTS - 1)) * this.#segmentWords
    let slot = hash & SLOT_MASK
    // A row may have several entries, with different hashes.
    while (page[base + slot * words] !== rowId + 1 || page[base + slot * words + 1] !== hash) {
      assert(page[base + slot * words] !== 0, 'a row that is taken out of an index is in it')
      slot = (slot + 1) & SLOT_MASK
    }
    // Entries behind the gap move up, so that every search still ends at the first empty slot.
    let probe = (slot + 1) & SLOT_MASK
    for (let from = base + probe * words; page[from] !== 0; from = base + probe * words) {
      const home = page[from + 1]! & SLOT_MASK
      if (((probe - home) & SLOT_MASK) >= ((probe - slot) & SLOT_MASK)) {
        page.copyWithin(base + slot * words, from, from + words)
        slot = probe
      }
      probe = (probe + 1) & SLOT_MASK
    }
    page[base + slot * words] = 0
    this.#segmentCount[segment]!--
  }

  /** Gives every page back at once. */
  clear(): void {
    this.#memory.give(this.#pages.length * this.#pageBytes)
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
      this.#memory.take(this.#pageBytes)
      this.#pages.push(new Uint32Array(PAGE_SEGMENTS * this.#segmentWords))
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
    const words = this.#slotWords
    const base = (segment & (PAGE_SEGMENTS - 1)) * this.#segmentWords
    const entries = page.slice(base, base + this.#segmentWords)
    page.fill(0, base, base + this.#segmentWords)
    this.#segmentCount[segment] = 0
    const bit = 0x8000_0000 >>> depth
    for (let place = 0; place < entries.length; place += words) {
      const entry = entries[place]!
      if (entry === 0) continue
      const hash = entries[place + 1]!
      const head = words === HEADED_SLOT_WORDS ? entries[place + 2]! : NONE
      this.#put((hash & bit) !== 0 ? sibling : segment, hash, entry - 1, head)
    }
  }
}
