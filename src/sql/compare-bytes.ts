import { latin } from './latin.js'

/** Less than, equal to or greater than 0, as `a` sorts before, with or after `b`: two values as PostgreSQL's text of them. */
export type CompareTexts = (
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
) => number

const SPACE = 0x20
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const CAPITAL_A = 0x41
const CAPITAL_Z = 0x5a
const CAPITAL_N = 0x4e
const CAPITAL_I = 0x49

/** Byte by byte, the shorter first: of UTF-8, the order of code points. */
export const compareBytes: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const offset = bStart - aStart
  const until = Math.min(aEnd, bEnd - offset)
  for (let i = aStart; i < until; i++) {
    const difference = a[i]! - b[i + offset]!
    if (difference !== 0) return difference
  }
  return aEnd - aStart - (bEnd - bStart)
}

/** Where a char(n)'s text ends: the spaces behind it do not count. */
export function trimmedEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = end
  while (at > start && bytes[at - 1] === SPACE) at--
  return at
}

export const compareTrimmed: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) =>
  compareBytes(a, aStart, trimmedEnd(a, aStart, aEnd), b, bStart, trimmedEnd(b, bStart, bEnd))

/** A byte as lower(text) of the C locale leaves it. */
export function folded(byte: number): number {
  return byte >= CAPITAL_A && byte <= CAPITAL_Z ? byte + 32 : byte
}

export const compareFolded: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const offset = bStart - aStart
  const until = Math.min(aEnd, bEnd - offset)
  for (let i = aStart; i < until; i++) {
    const difference = folded(a[i]!) - folded(b[i + offset]!)
    if (difference !== 0) return difference
  }
  return aEnd - aStart - (bEnd - bStart)
}

/** Integers in decimal digits, without leading zeros. */
export const compareIntegers: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aNegative = a[aStart] === MINUS
  const bNegative = b[bStart] === MINUS
  if (aNegative !== bNegative) return aNegative ? -1 : 1
  const longer = aEnd - aStart - (bEnd - bStart)
  const magnitude = longer === 0 ? compareBytes(a, aStart, aEnd, b, bStart, bEnd) : longer
  return aNegative ? -magnitude : magnitude
}

/** numeric: -Infinity, the numbers, Infinity, NaN. Zeros behind the point do not count. */
export const compareNumerics: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aRank = numericRank(a, aStart)
  const rank = aRank - numericRank(b, bStart)
  if (rank !== 0) return rank
  if (aRank === FINITE) return compareDecimals(a, aStart, aEnd, b, bStart, bEnd)
  return 0
}

const FINITE = 1

function numericRank(bytes: Uint8Array, start: number): number {
  const first = bytes[start]!
  if (first === CAPITAL_N) return 3
  if (first === CAPITAL_I) return 2
  return first === MINUS && bytes[start + 1] === CAPITAL_I ? 0 : FINITE
}

const compareDecimals: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aNegative = a[aStart] === MINUS
  const bNegative = b[bStart] === MINUS
  if (aNegative !== bNegative) return aNegative ? -1 : 1
  const sign = aNegative ? 1 : 0
  const magnitude = compareMagnitudes(a, aStart + sign, aEnd, b, bStart + sign, bEnd)
  return aNegative ? -magnitude : magnitude
}

const compareMagnitudes: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aPoint = pointIn(a, aStart, aEnd)
  const bPoint = pointIn(b, bStart, bEnd)
  const longer = aPoint - aStart - (bPoint - bStart)
  if (longer !== 0) return longer
  const whole = compareBytes(a, aStart, aPoint, b, bStart, bPoint)
  if (whole !== 0) return whole
  for (let i = 1; aPoint + i < aEnd || bPoint + i < bEnd; i++) {
    const aDigit = aPoint + i < aEnd ? a[aPoint + i]! : ZERO
    const bDigit = bPoint + i < bEnd ? b[bPoint + i]! : ZERO
    if (aDigit !== bDigit) return aDigit - bDigit
  }
  return 0
}

function pointIn(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) if (bytes[at] === POINT) return at
  return end
}

/** Where a numeric's digits that count end: behind it are zeros behind the point, and the point itself if nothing is left there. */
export function significantEnd(bytes: Uint8Array, start: number, end: number): number {
  if (pointIn(bytes, start, end) === end) return end
  let at = end
  while (bytes[at - 1] === ZERO) at--
  return bytes[at - 1] === POINT ? at - 1 : at
}

/** The integer that these digits are, with or without a sign; exact up to 2^53, and beyond as near as a number comes. */
export function integerOf(bytes: Uint8Array, start: number, end: number): number {
  const negative = bytes[start] === MINUS
  const from = negative ? start + 1 : start
  if (end - from > 15) return Number(latin(bytes, start, end))
  let value = 0
  for (let at = from; at < end; at++) value = value * 10 + (bytes[at]! - ZERO)
  return negative ? -value : value
}

export function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE
}

/** PostgreSQL's text of a float as a number. NaN is NaN. */
export function floatOf(bytes: Uint8Array, start: number, end: number): number {
  return Number(latin(bytes, start, end))
}

/** Floats: NaN is equal to itself and above all others, -0 is 0. */
export function compareNumbers(a: number, b: number): number {
  if (a < b) return -1
  if (a > b) return 1
  if (a === b) return 0
  return (Number.isNaN(a) ? 1 : 0) - (Number.isNaN(b) ? 1 : 0)
}
