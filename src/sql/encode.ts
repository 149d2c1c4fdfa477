import { floatOf, folded, integerOf, significantEnd, trimmedEnd } from './compare-bytes.js'
import { hashBytes, hashNumber } from './hash-bytes.js'
import { latin } from './latin.js'
import { encodeInstant, encodeTime, EXACT_MICROS } from './temporal.js'
import type { ValueType } from './value-type.js'

/** What NULL is encoded as: above every value. */
export const NULL_KEY = Number.POSITIVE_INFINITY

/**
 * A value as a few numbers, which come in the order of the values or are equal: what an ordered index keeps of it.
 *
 * A number whose magnitude is below `exactBelow` stands for one value only, if the encoding is that number alone.
 */
export interface Encoding {
  readonly width: number
  readonly exactBelow: number
  /** Writes the numbers of PostgreSQL's text of a value. None is above `Number.MAX_VALUE`. */
  write(bytes: Uint8Array, start: number, end: number, into: Float64Array, at: number): void
}

/** Bytes of a text, and hexadecimal digits, that go into one number: 48 bits, which a double holds exactly. */
const BYTES_EACH = 6
const DIGITS_EACH = 12
const TEXT_WIDTH = 2

const one = (
  exactBelow: number,
  number: (bytes: Uint8Array, start: number, end: number) => number,
): Encoding => ({
  width: 1,
  exactBelow,
  write(bytes, start, end, into, at) {
    into[at] = number(bytes, start, end)
  },
})

/** NaN is above infinity, and both are written as the largest number; -0 is 0. */
function clamped(value: number): number {
  return Number.isNaN(value)
    ? Number.MAX_VALUE
    : Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value)) + 0
}

const INTEGER = one(2 ** 53, integerOf)
const NUMERIC = one(0, (bytes, start, end) => clamped(Number(latin(bytes, start, end))))
const FLOAT8 = one(Number.MAX_VALUE, (bytes, start, end) => clamped(floatOf(bytes, start, end)))
const FLOAT4 = one(Number.MAX_VALUE, (bytes, start, end) => clamped(Math.fround(floatOf(bytes, start, end))))
const LETTER_T = 0x74
const BOOLEAN = one(Number.MAX_VALUE, (bytes, start) => (bytes[start] === LETTER_T ? 1 : 0))
const INSTANT = one(EXACT_MICROS, encodeInstant)
const TIME = one(Number.MAX_VALUE, encodeTime)

const TEXT: Encoding = { width: TEXT_WIDTH, exactBelow: 0, write: writeText }
const BPCHAR: Encoding = {
  width: TEXT_WIDTH,
  exactBelow: 0,
  write: (bytes, start, end, into, at) => writeText(bytes, start, trimmedEnd(bytes, start, end), into, at),
}
const CITEXT: Encoding = {
  width: TEXT_WIDTH,
  exactBelow: 0,
  write: (bytes, start, end, into, at) => writeText(bytes, start, end, into, at, folded),
}
const UUID: Encoding = { width: TEXT_WIDTH, exactBelow: 0, write: writeDigits }
const BYTEA: Encoding = {
  width: TEXT_WIDTH,
  exactBelow: 0,
  // Behind the \x.
  write: (bytes, start, end, into, at) => writeDigits(bytes, start + 2, end, into, at),
}

function writeText(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Float64Array,
  at: number,
  fold?: (byte: number) => number,
): void {
  let from = start
  for (let i = 0; i < TEXT_WIDTH; i++) {
    let number = 0
    for (let j = 0; j < BYTES_EACH; j++, from++) {
      const byte = from < end ? bytes[from]! : 0
      number = number * 256 + (fold === undefined ? byte : fold(byte))
    }
    into[at + i] = number
  }
}

const HYPHEN = 0x2d
const LETTER_A = 0x61

function writeDigits(bytes: Uint8Array, start: number, end: number, into: Float64Array, at: number): void {
  let from = start
  for (let i = 0; i < TEXT_WIDTH; i++) {
    let number = 0
    for (let j = 0; j < DIGITS_EACH; j++, from++) {
      if (bytes[from] === HYPHEN) from++
      const byte = from < end ? bytes[from]! : 0x30
      number = number * 16 + (byte >= LETTER_A ? byte - LETTER_A + 10 : byte - 0x30)
    }
    into[at + i] = number
  }
}

/** How values of an ordered type are encoded. */
export function encodingOf(type: ValueType): Encoding {
  switch (type.name) {
    case 'integer':
      return INTEGER
    case 'numeric':
      return NUMERIC
    case 'float4':
      return FLOAT4
    case 'float8':
      return FLOAT8
    case 'boolean':
      return BOOLEAN
    case 'enum':
      return one(type.ranks, type.rank)
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return INSTANT
    case 'time':
      return TIME
    case 'text':
      return TEXT
    case 'bpchar':
      return BPCHAR
    case 'citext':
      return CITEXT
    case 'uuid':
      return UUID
    case 'bytea':
      return BYTEA
  }
}

const scratch = new Float64Array(TEXT_WIDTH)

/** The hash of a value, an unsigned 32-bit integer whatever `seed`: the same for all texts of equal ones. */
export function hashOf(type: ValueType, bytes: Uint8Array, start: number, end: number, seed: number): number {
  const { name } = type
  if (name === 'bpchar') return hashBytes(bytes, start, trimmedEnd(bytes, start, end), seed)
  if (name === 'numeric') return hashBytes(bytes, start, significantEnd(bytes, start, end), seed)
  if (name === 'citext') return hashFolded(bytes, start, end, seed)
  // Equal ones may differ in their texts.
  if (name !== 'float4' && name !== 'float8' && name !== 'timestamptz')
    return hashBytes(bytes, start, end, seed)
  encodingOf(type).write(bytes, start, end, scratch, 0)
  return hashNumber(scratch[0]!, seed)
}

function hashFolded(bytes: Uint8Array, start: number, end: number, seed: number): number {
  // A text without bytes is hashed as well: a seed is no hash.
  let hash = hashNumber(end - start, seed)
  for (let at = start; at < end; at++) hash = hashNumber(folded(bytes[at]!), hash)
  return hash
}
