import { assert } from '../errors.js'
import { type Address, type CommitSeq, NONE } from './address.js'
import { FreeLists } from './free-lists.js'
import type { MemoryAccount } from './memory.js'

const WORD_BITS = 18
const PAGE_WORDS = 1 << WORD_BITS
const WORD_MASK = PAGE_WORDS - 1
const PAGE_BYTES = PAGE_WORDS * 4
const PAGES_MAX = 1 << (32 - WORD_BITS)

/** Records from this size on get a page of their own, of just their length. */
const LARGE_WORDS = PAGE_WORDS >> 2

// A record, in 32-bit words: 0 size and flags, 1 row id, 2 sequence number (low), 3 older version, 4 (low half) sequence
// number (high); from byte 18 on the values. A free block keeps word 0 and uses 1 and 2 for its list.
const HEADER_BYTES = 18
const SIZE_MASK = 0x00ff_ffff

/** The row does not exist from this version on; the record holds only its key. */
export const TOMBSTONE = 1 << 24
/** Every byte of every value is below 0x80. */
export const ASCII = 1 << 25
/** The decoded row may stand in the table's lru-cache. */
export const DECODED = 1 << 26
/** The row is on the table's list of chains to prune. */
export const LISTED = 1 << 27
const FREE = 1 << 28
/** Of a bounded table: from this version on it is not known whether the row exists. Comes with TOMBSTONE, since the record holds only its key. */
export const UNKNOWN = 1 << 29

const TWO_32 = 2 ** 32

assert(
  new Uint8Array(Uint32Array.of(1).buffer)[0] === 1,
  'this machine is little-endian, as the record layout needs',
)

/**
 * Pages outside the V8 heap that hold a table's tuple records: allocate, free, and read their headers.
 *
 * Rows stay the bytes that PostgreSQL sent, so the garbage collector has a page to look at where it would have thousands of
 * objects. Freed blocks are found again by exact size; a page that has become empty is given back.
 */
export class Slab {
  readonly #memory: MemoryAccount
  readonly #words: Uint32Array[] = []
  readonly #bytes: Buffer[] = []
  /** Words in use by records, per page. */
  readonly #live: number[] = []
  /** Whether the page is one large record. */
  readonly #large: boolean[] = []
  readonly #vacantPages: number[] = []
  readonly #free = new FreeLists(this.#words, WORD_BITS)
  /** The page that is being filled, and its first unused word. */
  #page = -1
  #next = 0
  #liveWords = 0
  #records = 0
  /** The page whose records are being moved away: what is freed there is not used again. */
  #evacuated = -1

  constructor(memory: MemoryAccount) {
    this.#memory = memory
  }

  /** Bytes of all records that are in use. */
  get liveBytes(): number {
    return this.#liveWords * 4
  }

  /** How many records are in use. */
  get records(): number {
    return this.#records
  }

  /**
   * A new record with room for `dataBytes` of values. Its header is set, its values are the caller's to write.
   *
   * @throws {MemoryLimitError} if it needs a page that the table may not have. Nothing has changed then.
   */
  allocate(dataBytes: number, rowId: number, seq: CommitSeq, flags: number): Address {
    const size = (HEADER_BYTES + dataBytes + 3) >>> 2
    const address = size >= LARGE_WORDS ? this.#allocateLarge(size) : this.#allocateSmall(size)
    this.#records++
    const words = this.#words[address >>> WORD_BITS]!
    const at = address & WORD_MASK
    words[at] = (words[at]! & SIZE_MASK) | flags
    words[at + 1] = rowId
    words[at + 2] = seq
    words[at + 3] = NONE
    words[at + 4] = seq / TWO_32
    return address
  }

  #allocateSmall(size: number): Address {
    let address = this.#free.takeSame(size)
    if (address === NONE) {
      if (this.#page >= 0 && this.#next + size <= PAGE_WORDS) address = this.#bump(size)
      else {
        address = this.#free.takeAtLeast(size)
        if (address === NONE) {
          this.#openPage()
          address = this.#bump(size)
        }
      }
    }
    const page = address >>> WORD_BITS
    const taken = this.#words[page]![address & WORD_MASK]! & SIZE_MASK
    this.#live[page]! += taken
    this.#liveWords += taken
    return address
  }

  #bump(size: number): Address {
    const at = this.#next
    this.#next += size
    this.#words[this.#page]![at] = size
    return ((this.#page << WORD_BITS) | at) >>> 0
  }

  #openPage(): void {
    const page = this.#addPage(PAGE_BYTES, false)
    if (this.#page >= 0) this.#closePage()
    this.#page = page
    // Word 0 of page 0 would be address 0, which means none.
    this.#next = page === 0 ? 1 : 0
  }

  /** What is left of the page that was being filled becomes a free block, or nothing if it is too small for one. */
  #closePage(): void {
    const rest = PAGE_WORDS - this.#next
    if (rest > 0) this.#free.add(this.#page, this.#next, rest)
    this.#page = -1
  }

  #allocateLarge(size: number): Address {
    // One word of padding keeps a large record in page 0 from having address 0.
    const page = this.#addPage((size + 1) * 4, true)
    this.#live[page] = size
    this.#liveWords += size
    return ((page << WORD_BITS) | 1) >>> 0
  }

  #addPage(bytes: number, large: boolean): number {
    const vacant = this.#vacantPages.length > 0
    if (!vacant && this.#words.length === PAGES_MAX) throw this.#memory.full(PAGES_MAX * PAGE_BYTES)
    this.#memory.take(bytes)
    const page = vacant ? this.#vacantPages.pop()! : this.#words.length
    const buffer = new ArrayBuffer(bytes)
    this.#words[page] = new Uint32Array(buffer)
    this.#bytes[page] = Buffer.from(buffer)
    this.#live[page] = 0
    this.#large[page] = large
    return page
  }

  /** Gives a record's room back. Its address must not be used again. */
  free(address: Address): void {
    const page = address >>> WORD_BITS
    const words = this.#words[page]!
    const at = address & WORD_MASK
    const large = this.#large[page]!
    // A large record's length may not fit beside the flags: it is the page's.
    const size = large ? words.length - 1 : words[at]! & SIZE_MASK
    this.#live[page]! -= size
    this.#liveWords -= size
    this.#records--
    if (large) {
      this.#dropPage(page)
      return
    }
    words[at] = size | FREE
    if (this.#live[page] === 0 && page !== this.#page) {
      this.#unlistPage(page)
      this.#dropPage(page)
    } else if (page !== this.#evacuated) this.#free.add(page, at, size)
  }

  #dropPage(page: number): void {
    this.#memory.give(this.#bytes[page]!.length)
    this.#words[page] = new Uint32Array(0)
    this.#bytes[page] = Buffer.alloc(0)
    this.#vacantPages.push(page)
  }

  /** Takes all free blocks of an empty page off their lists. The block that has just been freed is not on one yet. */
  #unlistPage(page: number): void {
    const words = this.#words[page]!
    for (let at = page === 0 ? 1 : 0; at < words.length; at += words[at]! & SIZE_MASK)
      this.#free.removeIfListed(page, at)
  }

  /** Gives every page back at once. */
  clear(): void {
    for (let page = 0; page < this.#bytes.length; page++) this.#memory.give(this.#bytes[page]!.length)
    this.#words.length = 0
    this.#bytes.length = 0
    this.#live.length = 0
    this.#large.length = 0
    this.#vacantPages.length = 0
    this.#free.clear()
    this.#page = -1
    this.#liveWords = 0
    this.#records = 0
  }

  /**
   * The emptiest full page, if so much of the slab is unused that moving its records pays; -1 otherwise.
   * A quarter of all pages may be free blocks before that.
   */
  sparsestPage(): number {
    const pages = this.#words.length - this.#vacantPages.length
    const words = pages * PAGE_WORDS
    if (pages < 4 || (words - this.#liveWords) * 4 < words) return -1
    let best = -1
    for (let page = 0; page < this.#words.length; page++) {
      if (page === this.#page || this.#large[page]! || this.#words[page]!.length === 0) continue
      if (best < 0 || this.#live[page]! < this.#live[best]!) best = page
    }
    // Moving the records of a well-filled page would free next to nothing.
    return best >= 0 && this.#live[best]! * 2 < PAGE_WORDS ? best : -1
  }

  /**
   * Hands the address of each record on `page` to `move`, which must move it elsewhere and free it. The page's free blocks are
   * taken off their lists before, so that nothing is allocated there meanwhile; freeing the last record gives the page back.
   */
  evacuate(page: number, move: (address: Address) => void): void {
    const words = this.#words[page]!
    const records: Address[] = []
    for (let at = page === 0 ? 1 : 0; at < words.length; at += words[at]! & SIZE_MASK)
      if (!this.#free.removeIfListed(page, at)) records.push(((page << WORD_BITS) | at) >>> 0)
    this.#evacuated = page
    try {
      for (const address of records) move(address)
    } finally {
      this.#evacuated = -1
    }
  }

  /** A copy of the record elsewhere, header and all. The old one is still the caller's to free. */
  copy(address: Address): Address {
    const words = this.#words[address >>> WORD_BITS]!
    const at = address & WORD_MASK
    const size = words[at]! & SIZE_MASK
    const to = this.#allocateSmall(size)
    this.#records++
    const target = this.#words[to >>> WORD_BITS]!
    const targetAt = to & WORD_MASK
    const targetSize = target[targetAt]! & SIZE_MASK
    target.set(words.subarray(at, at + size), targetAt)
    target[targetAt] = (words[at]! & ~SIZE_MASK) | targetSize
    return to
  }

  /** Bytes that the record takes, header and all. */
  size(address: Address): number {
    const page = address >>> WORD_BITS
    const words = this.#words[page]!
    return 4 * (this.#large[page]! ? words.length - 1 : words[address & WORD_MASK]! & SIZE_MASK)
  }

  seq(address: Address): CommitSeq {
    const words = this.#words[address >>> WORD_BITS]!
    const at = address & WORD_MASK
    return words[at + 2]! + (words[at + 4]! & 0xffff) * TWO_32
  }

  older(address: Address): Address {
    return this.#words[address >>> WORD_BITS]![(address & WORD_MASK) + 3]!
  }

  setOlder(address: Address, older: Address): void {
    this.#words[address >>> WORD_BITS]![(address & WORD_MASK) + 3] = older
  }

  rowId(address: Address): number {
    return this.#words[address >>> WORD_BITS]![(address & WORD_MASK) + 1]!
  }

  setRowId(address: Address, rowId: number): void {
    this.#words[address >>> WORD_BITS]![(address & WORD_MASK) + 1] = rowId
  }

  has(address: Address, flag: number): boolean {
    return (this.#words[address >>> WORD_BITS]![address & WORD_MASK]! & flag) !== 0
  }

  set(address: Address, flag: number): void {
    this.#words[address >>> WORD_BITS]![address & WORD_MASK]! |= flag
  }

  unset(address: Address, flag: number): void {
    this.#words[address >>> WORD_BITS]![address & WORD_MASK]! &= ~flag
  }

  /** The page that holds the record's values. */
  page(address: Address): Buffer {
    return this.#bytes[address >>> WORD_BITS]!
  }

  /** Where in its page the record's values begin. */
  dataStart(address: Address): number {
    return (address & WORD_MASK) * 4 + HEADER_BYTES
  }
}
