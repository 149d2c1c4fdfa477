const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const DOT = 0x2e
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const SPACE = 0x20
const LETTER_E = 0x65
const LETTER_N = 0x6e
const LETTER_U = 0x75

const LITERALS = new Map([
  [0x74, Buffer.from('true')],
  [0x66, Buffer.from('false')],
  [0x6e, Buffer.from('null')],
])

/** What the letter after a backslash stands for. */
const ESCAPES = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }).map(
    ([letter, meant]) => [letter.charCodeAt(0), meant.charCodeAt(0)],
  ),
)

/** What was read last: a string (unescaped, without its quotes), a number's own digits, or one of the three words. */
export type JsonToken = 'string' | 'number' | 'word'

/** Arrays and objects that are skipped lie in one another no deeper than this. */
const DEPTH_MAX = 16
/** A larger copy is let go with the payload that needed it. */
const KEPT_BYTES_MAX = 1 << 20

/**
 * Reads compact JSON, token by token, from a copy of its own. Numbers are never made numbers, and strings are unescaped where
 * they lie (what is escaped is never shorter than what it stands for): a value is a range of `bytes`, which is UTF-8.
 *
 * `fail` makes the error that is thrown for what is not JSON.
 */
export class JsonReader {
  bytes: Buffer = Buffer.alloc(0)
  /** The token read last: `bytes[start, end)`. */
  start = 0
  end = 0
  #kept: Buffer = Buffer.alloc(0)
  #at = 0
  #limit = 0

  constructor(readonly fail: (problem: string) => Error) {}

  /** Begins with `bytes[start, end)`. */
  open(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start
    if (length > this.#kept.length) {
      const copy = Buffer.allocUnsafeSlow(length)
      if (length <= KEPT_BYTES_MAX) this.#kept = copy
      this.bytes = copy
    } else {
      this.bytes = this.#kept
    }
    this.bytes.set(bytes.subarray(start, end))
    this.#at = 0
    this.#limit = length
  }

  /** Lets go of the copy, if it is a large one. */
  close(): void {
    this.bytes = this.#kept
  }

  /** The next token's first byte; 0 at the end. */
  peek(): number {
    return this.#at < this.#limit ? this.bytes[this.#at]! : 0
  }

  openObject(): void {
    this.#expect(OPEN_OBJECT)
  }

  openArray(): void {
    this.#expect(OPEN_ARRAY)
  }

  /** Whether another member follows, having read the comma before it; else the closing brace is read. */
  nextMember(isFirst: boolean): boolean {
    return this.#next(CLOSE_OBJECT, isFirst)
  }

  /** Whether another element follows. */
  nextElement(isFirst: boolean): boolean {
    return this.#next(CLOSE_ARRAY, isFirst)
  }

  /** Reads a member's name and colon; which of `names` it is, or -1. */
  name(names: readonly Buffer[]): number {
    this.string()
    this.#expect(COLON)
    for (let i = 0; i < names.length; i++) if (this.is(names[i]!)) return i
    return -1
  }

  /** Whether the token read last has these bytes. */
  is(text: Uint8Array): boolean {
    return sameBytes(this.bytes, this.start, this.end, text)
  }

  /** Whether the word read last is `null`. */
  get isNull(): boolean {
    return this.bytes[this.start] === LETTER_N
  }

  /** The token read last. */
  text(): string {
    return this.bytes.toString('utf8', this.start, this.end)
  }

  /** Reads a string, a number or a word. */
  value(): JsonToken {
    const byte = this.peek()
    if (byte === QUOTE) {
      this.string()
      return 'string'
    }
    if (byte === MINUS || isDigit(byte)) {
      this.#number()
      return 'number'
    }
    this.#word(byte)
    return 'word'
  }

  /** Reads a string, unescaping it. */
  // Hot: most bytes of a payload pass here.
  string(): void {
    this.#expect(QUOTE)
    const { bytes } = this
    const limit = this.#limit
    let at = this.#at
    this.start = at
    for (; at < limit; at++) {
      const byte = bytes[at]!
      if (byte === QUOTE) {
        this.end = at
        this.#at = at + 1
        return
      }
      if (byte === BACKSLASH) return this.#escaped(at)
      if (byte < SPACE) throw this.fail('a control character in a string.')
    }
    throw this.#short()
  }

  /** Skips one value of whatever kind. */
  skip(depth = 0): void {
    const byte = this.peek()
    if (byte !== OPEN_OBJECT && byte !== OPEN_ARRAY) {
      this.value()
      return
    }
    if (depth === DEPTH_MAX) throw this.fail('values nested too deeply.')
    this.#at++
    if (byte === OPEN_ARRAY)
      for (let first = true; this.nextElement(first); first = false) this.skip(depth + 1)
    else
      for (let first = true; this.nextMember(first); first = false) {
        this.name([])
        this.skip(depth + 1)
      }
  }

  /** Nothing follows. */
  expectEnd(): void {
    if (this.#at !== this.#limit)
      throw this.fail(`${this.#limit - this.#at} bytes after the end of a message.`)
  }

  /** The rest of a string whose first backslash is at `from`: written over itself. */
  #escaped(from: number): void {
    const { bytes } = this
    const limit = this.#limit
    let to = from
    let at = from
    while (at < limit) {
      const byte = bytes[at++]!
      if (byte === QUOTE) {
        this.end = to
        this.#at = at
        return
      }
      if (byte < SPACE) throw this.fail('a control character in a string.')
      if (byte !== BACKSLASH) {
        bytes[to++] = byte
        continue
      }
      const letter = at < limit ? bytes[at++]! : 0
      if (letter === LETTER_U) {
        let code = this.#hex(at)
        at += 4
        if (code >= 0xd800 && code < 0xdc00 && bytes[at] === BACKSLASH && bytes[at + 1] === LETTER_U) {
          const low = this.#hex(at + 2)
          at += 6
          if (low < 0xdc00 || low > 0xdfff) throw this.fail('half a character in a string.')
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
        }
        // NUL is no character of PostgreSQL's, nor is half a surrogate pair.
        if (code === 0 || (code >= 0xd800 && code <= 0xdfff)) throw this.fail('half a character in a string.')
        to = writeUtf8(bytes, to, code)
      } else {
        const meant = ESCAPES.get(letter)
        if (meant === undefined) throw this.fail('an unknown escape in a string.')
        bytes[to++] = meant
      }
    }
    throw this.#short()
  }

  #hex(at: number): number {
    if (at + 4 > this.#limit) throw this.#short()
    const digits = this.bytes.toString('latin1', at, at + 4)
    if (!/^[0-9a-f]{4}$/i.test(digits)) throw this.fail('an unknown escape in a string.')
    return Number.parseInt(digits, 16)
  }

  /** A number as JSON has it; its digits stay as they are. */
  #number(): void {
    const { bytes } = this
    this.start = this.#at
    if (bytes[this.#at] === MINUS) this.#at++
    this.#digits()
    if (this.peek() === DOT) {
      this.#at++
      this.#digits()
    }
    if ((this.peek() | 0x20) === LETTER_E) {
      this.#at++
      const sign = this.peek()
      if (sign === MINUS || sign === 0x2b) this.#at++
      this.#digits()
    }
    this.end = this.#at
  }

  #digits(): void {
    const from = this.#at
    while (isDigit(this.peek())) this.#at++
    if (this.#at === from) throw this.fail('a number without digits.')
  }

  #word(first: number): void {
    const word = LITERALS.get(first)
    if (word === undefined) throw first === 0 ? this.#short() : this.fail('a value that is none.')
    this.start = this.#at
    this.#at = Math.min(this.#at + word.length, this.#limit)
    this.end = this.#at
    if (!this.is(word)) throw this.fail('a value that is none.')
  }

  #next(close: number, isFirst: boolean): boolean {
    const byte = this.peek()
    if (byte === close) {
      this.#at++
      return false
    }
    if (!isFirst) this.#expect(COMMA)
    return true
  }

  #expect(byte: number): void {
    if (this.#at >= this.#limit) throw this.#short()
    if (this.bytes[this.#at] !== byte)
      throw this.fail(`no ${JSON.stringify(String.fromCharCode(byte))} where one has to be.`)
    this.#at++
  }

  #short(): Error {
    return this.fail('a payload that ends too early.')
  }
}

export function sameBytes(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  const { length } = text
  if (end - start !== length) return false
  for (let i = 0; i < length; i++) if (bytes[start + i] !== text[i]) return false
  return true
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39
}

function writeUtf8(bytes: Uint8Array, at: number, code: number): number {
  let to = at
  if (code < 0x80) {
    bytes[to++] = code
    return to
  }
  if (code < 0x800) {
    bytes[to++] = 0xc0 | (code >> 6)
  } else {
    if (code < 0x10000) {
      bytes[to++] = 0xe0 | (code >> 12)
    } else {
      bytes[to++] = 0xf0 | (code >> 18)
      bytes[to++] = 0x80 | ((code >> 12) & 0x3f)
    }
    bytes[to++] = 0x80 | ((code >> 6) & 0x3f)
  }
  bytes[to++] = 0x80 | (code & 0x3f)
  return to
}
