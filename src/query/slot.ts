import { isText } from '../sql/value-type.js'
import { type NoKeyText, plainText } from '../sql/key-text.js'

/** Texts up to this length are written byte by byte, which beats a call. */
const SHORT_MAX = 64

/** A value that a query compares a column with, as bytes that stand beside stored ones. Queries of the same shape bind it anew. */
export class Slot {
  /** As it was given. */
  given: unknown = undefined
  bytes: Buffer = Buffer.alloc(SHORT_MAX)
  length = 0
  readonly #read: (given: unknown) => string | NoKeyText
  readonly #isPlain: boolean

  /** `read` gives the text whose bytes are meant, or says why there is none. */
  constructor(read: (given: unknown) => string | NoKeyText) {
    this.#read = read
    this.#isPlain = read === plainText
  }

  /** Null if the value is bound; else why it has no text here, and nothing was changed. */
  bind(given: unknown): NoKeyText | null {
    // Mostly there is nothing to be said against a text, which is seen while it is written.
    if (this.#isPlain && typeof given === 'string' && given.length <= SHORT_MAX && this.#writeAscii(given)) {
      this.given = given
      return null
    }
    const text = this.#read(given)
    if (!isText(text)) return text
    this.given = given
    if (text.length <= SHORT_MAX && this.#writeAscii(text)) return null
    const length = Buffer.byteLength(text)
    if (length > this.bytes.length) this.bytes = Buffer.alloc(length)
    this.length = this.bytes.write(text)
    return null
  }

  /** False for a text that has more than ASCII, or NUL. */
  #writeAscii(text: string): boolean {
    const { bytes } = this
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit >= 0x80 || unit === 0) return false
      bytes[i] = unit
    }
    this.length = text.length
    return true
  }
}

/** The slots of one query, by the places that its values have in it. */
export class Slots {
  readonly #slots: (Slot | undefined)[] = []
  readonly #onBound: (() => void)[] = []

  /** The slot of the value at `place`, made by `make` when it is first asked for. */
  at(place: number, make: () => Slot): Slot {
    return (this.#slots[place] ??= make())
  }

  /** The slot of the value at `place`; undefined if nothing is compared with that. */
  get(place: number): Slot | undefined {
    return this.#slots[place]
  }

  /** `prepare` is called each time all slots are bound. */
  onBound(prepare: () => void): void {
    this.#onBound.push(prepare)
  }

  /** All slots have their values. */
  bound(): void {
    for (let i = 0; i < this.#onBound.length; i++) this.#onBound[i]!()
  }

  /** Binds the values by their places. False if one of them has no text here: then the slots are of no use until the next time. */
  bind(values: readonly unknown[]): boolean {
    const slots = this.#slots
    for (let place = 0; place < slots.length; place++) {
      const slot = slots[place]
      if (slot !== undefined && slot.bind(values[place]) !== null) return false
    }
    this.bound()
    return true
  }
}
