import { type CompareTexts, compareBytes, isDigit } from './compare-bytes.js'

const SPACE = 0x20
const PLUS = 0x2b
const MINUS = 0x2d
const POINT = 0x2e
const COLON = 0x3a
const CAPITAL_C = 0x43
const ZERO = 0x30

const DAY_SECONDS = 86_400

/** What `readInstant` has read: seconds since 1970 (of the session's wall clock where there is no zone), and microseconds. */
export const instant = { seconds: 0, micros: 0 }

/** Reads PostgreSQL's ISO text of a date, timestamp or timestamptz, from 4714 BC to 294276 and infinities, into `instant`. */
function readInstant(bytes: Uint8Array, start: number, end: number): void {
  instant.micros = 0
  if (!isDigit(bytes[start])) {
    instant.seconds = bytes[start] === MINUS ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
    return
  }
  let at = start
  let year = 0
  while (bytes[at] !== MINUS) year = year * 10 + (bytes[at++]! - ZERO)
  const isBefore = bytes[end - 1] === CAPITAL_C
  const month = twoDigits(bytes, at + 1)
  const day = twoDigits(bytes, at + 4)
  instant.seconds = daysFromCivil(isBefore ? 1 - year : year, month, day) * DAY_SECONDS
  at += 6
  if (at < end && bytes[at] === SPACE && isDigit(bytes[at + 1])) readTime(bytes, at + 1, end)
}

/** Adds the time of day that begins at `start`, less the zone behind it, to `instant`. */
function readTime(bytes: Uint8Array, start: number, end: number): void {
  instant.seconds +=
    twoDigits(bytes, start) * 3600 + twoDigits(bytes, start + 3) * 60 + twoDigits(bytes, start + 6)
  let at = start + 8
  if (bytes[at] === POINT) {
    let unit = 100_000
    for (at++; at < end && isDigit(bytes[at]); at++) {
      instant.micros += (bytes[at]! - ZERO) * unit
      unit /= 10
    }
  }
  if (at >= end || (bytes[at] !== PLUS && bytes[at] !== MINUS)) return
  const east = bytes[at] === PLUS ? 1 : -1
  let unit = 3600
  for (at++; ; at += 3) {
    instant.seconds -= east * twoDigits(bytes, at) * unit
    unit /= 60
    if (bytes[at + 2] !== COLON || at + 2 >= end) return
  }
}

function twoDigits(bytes: Uint8Array, at: number): number {
  return (bytes[at]! - ZERO) * 10 + (bytes[at + 1]! - ZERO)
}

/** Days since 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC. */
function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

/** Instants, whatever zone they are written in. */
export const compareInstants: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  readInstant(a, aStart, aEnd)
  const { seconds, micros } = instant
  readInstant(b, bStart, bEnd)
  if (seconds !== instant.seconds) return seconds < instant.seconds ? -1 : 1
  return micros - instant.micros
}

/** Dates and timestamps without a zone: in a common form, as bytes. */
export const compareLocalTimes: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
  const isPlain =
    a[aStart + 4] === MINUS &&
    b[bStart + 4] === MINUS &&
    a[aEnd - 1] !== CAPITAL_C &&
    b[bEnd - 1] !== CAPITAL_C
  if (isPlain && isDigit(a[aStart]) && isDigit(b[bStart]))
    return compareBytes(a, aStart, aEnd, b, bStart, bEnd)
  return compareInstants(a, aStart, aEnd, b, bStart, bEnd)
}

/** Beyond this many seconds from 1970 microseconds since then are no exact number any more. */
const EXACT_SECONDS = 9e9
/** Encoded instants nearer than this to 1970 stand for one instant each. */
export const EXACT_MICROS = EXACT_SECONDS * 1e6

/** Microseconds since 1970, never in another order than the instants; exact below `EXACT_MICROS`. Infinities are the largest numbers. */
export function encodeInstant(bytes: Uint8Array, start: number, end: number): number {
  readInstant(bytes, start, end)
  const { seconds, micros } = instant
  if (Math.abs(seconds) < EXACT_SECONDS) return seconds * 1e6 + micros
  if (Number.isFinite(seconds)) return seconds * 1e6
  return seconds > 0 ? Number.MAX_VALUE : -Number.MAX_VALUE
}

/** Microseconds of a time of day. */
export function encodeTime(bytes: Uint8Array, start: number, end: number): number {
  instant.seconds = 0
  instant.micros = 0
  readTime(bytes, start, end)
  return instant.seconds * 1e6 + instant.micros
}
