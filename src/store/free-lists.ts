import { type Address, NONE } from './address.js'

/** Blocks below this size have a list for each size; larger ones share lists, four to a doubling. */
const EXACT = 512
const LISTS = EXACT + 4 * 24

/** How many blocks of a shared list are looked at for one that is large enough. */
const LOOKED_AT_MAX = 8

/** A block smaller than this can't hold the two links; it stays unused until its page is given back. */
const LINKED_MIN = 3

const FREE = 1 << 28
/** The block is on a list: a free block that is not was too small, or its page is being emptied. */
const ON_LIST = 1 << 29
const SIZE_MASK = 0x00ff_ffff

/**
 * The free blocks of a slab, by size: doubly linked through the blocks themselves, with a bitmap of the lists that are not
 * empty, so that a fitting block is found without a search.
 */
export class FreeLists {
  readonly #heads = new Uint32Array(LISTS)
  readonly #filled = new Uint32Array((LISTS + 31) >>> 5)
  readonly #words: readonly Uint32Array[]
  readonly #wordBits: number
  readonly #wordMask: number

  /** `words` are the slab's pages; an address is a page's number above `wordBits` and a word's below. */
  constructor(words: readonly Uint32Array[], wordBits: number) {
    this.#words = words
    this.#wordBits = wordBits
    this.#wordMask = (1 << wordBits) - 1
  }

  clear(): void {
    this.#heads.fill(NONE)
    this.#filled.fill(0)
  }

  /** Makes the `size` words from `at` on a free block. */
  add(page: number, at: number, size: number): void {
    const words = this.#words[page]!
    if (size < LINKED_MIN) {
      words[at] = size | FREE
      return
    }
    const list = listOf(size)
    const head = this.#heads[list]!
    const address = ((page << this.#wordBits) | at) >>> 0
    words[at] = size | FREE | ON_LIST
    words[at + 1] = head
    words[at + 2] = NONE
    if (head !== NONE) this.#words[head >>> this.#wordBits]![(head & this.#wordMask) + 2] = address
    this.#heads[list] = address
    this.#filled[list >>> 5]! |= 1 << (list & 31)
  }

  /** A block from the list that `size` words belong to, cut to size; NONE if there is none that fits. */
  takeSame(size: number): Address {
    let address = this.#heads[listOf(size)]!
    if (size >= EXACT) {
      for (let looked = 1; address !== NONE && this.#sizeAt(address) < size; looked++)
        address = looked < LOOKED_AT_MAX ? this.#nextOf(address) : NONE
    }
    return address === NONE ? NONE : this.#takeCut(address, size)
  }

  /** The smallest block of the lists above, cut to size; NONE if there is none. */
  takeAtLeast(size: number): Address {
    const list = this.#nextFilled(listOf(size) + 1)
    return list < 0 ? NONE : this.#takeCut(this.#heads[list]!, size)
  }

  /** Takes the block; what it has above `size` words is free again, unless it is too small for a block. */
  #takeCut(address: Address, size: number): Address {
    const rest = this.#remove(address) - size
    if (rest >= LINKED_MIN) {
      const page = address >>> this.#wordBits
      const at = address & this.#wordMask
      this.#words[page]![at] = size
      this.add(page, at + size, rest)
    }
    return address
  }

  #sizeAt(address: Address): number {
    return this.#words[address >>> this.#wordBits]![address & this.#wordMask]! & SIZE_MASK
  }

  #nextOf(address: Address): Address {
    return this.#words[address >>> this.#wordBits]![(address & this.#wordMask) + 1]!
  }

  /** Whether the block at this place is free; takes it off its list if it is on one. */
  removeIfListed(page: number, at: number): boolean {
    const mark = this.#words[page]![at]!
    if ((mark & FREE) === 0) return false
    if ((mark & ON_LIST) !== 0) {
      this.#remove(((page << this.#wordBits) | at) >>> 0)
      this.#words[page]![at]! |= FREE
    }
    return true
  }

  /** Takes a block off its list and returns its size; the block's flags are cleared. */
  #remove(address: Address): number {
    const words = this.#words[address >>> this.#wordBits]!
    const at = address & this.#wordMask
    const size = this.#sizeAt(address)
    const next = words[at + 1]!
    const previous = words[at + 2]!
    words[at] = size
    if (next !== NONE) this.#words[next >>> this.#wordBits]![(next & this.#wordMask) + 2] = previous
    if (previous !== NONE) this.#words[previous >>> this.#wordBits]![(previous & this.#wordMask) + 1] = next
    else {
      const list = listOf(size)
      this.#heads[list] = next
      if (next === NONE) this.#filled[list >>> 5]! &= ~(1 << (list & 31))
    }
    return size
  }

  #nextFilled(from: number): number {
    let word = from >>> 5
    let bits = this.#filled[word]! & (-1 << (from & 31))
    while (bits === 0) {
      word++
      if (word >= this.#filled.length) return -1
      bits = this.#filled[word]!
    }
    return word * 32 + 31 - Math.clz32(bits & -bits)
  }
}

function listOf(size: number): number {
  if (size < EXACT) return size
  const log = 31 - Math.clz32(size)
  return EXACT + (log - 9) * 4 + ((size >>> (log - 2)) & 3)
}
