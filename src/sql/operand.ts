import { databaseParameter, type KeyColumnType, keyTextOf, type NoKeyText } from './key-text.js'

/**
 * A given value as PostgreSQL's text of one that compares with stored ones just as the given one would, or why there is none:
 * `unprovable` values only PostgreSQL can compare; `impossible` ones can't be of the column's type at all.
 */
export type OperandText = (given: unknown) => string | NoKeyText

const OTHER_SPELLING: NoKeyText = {
  kind: 'unprovable',
  reason: 'only PostgreSQL can read this spelling of a value.',
}
const OTHER_VALUE: NoKeyText = { kind: 'unprovable', reason: 'only PostgreSQL can compare this value.' }
const WRONG_KIND: NoKeyText = {
  kind: 'impossible',
  reason: 'the value is not of a kind that the column has.',
}
const ZONELESS: NoKeyText = {
  kind: 'unprovable',
  reason: 'without an offset the instant depends on the time zone of the session.',
}
const NO_LABEL: NoKeyText = { kind: 'impossible', reason: 'the enum has no such label.' }

/** As keys are spelled. Bytes compare as the stored texts do. */
export function asKeys(column: KeyColumnType): OperandText {
  return keyTextOf({ ...column, deterministic: true })
}

/** char(n): without padding, since the spaces at the end do not count. */
export const plainTexts: OperandText = keyTextOf({
  baseTypeOid: 25,
  typeModifier: -1,
  typeKind: 'b',
  deterministic: true,
})

export function enumLabels(labels: readonly string[]): OperandText {
  const known = new Set(labels)
  return given => {
    if (typeof given !== 'string') return WRONG_KIND
    return known.has(given) ? given : NO_LABEL
  }
}

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?$/
const SPECIAL_NUMBERS: ReadonlySet<string> = new Set(['NaN', 'Infinity', '-Infinity'])
/** Digits of a numeric that is compared here, at most. */
const DIGITS_MAX = 1_000

export const numerics: OperandText = given => {
  if (!isNumberLike(given)) return WRONG_KIND
  const text = String(given)
  if (SPECIAL_NUMBERS.has(text)) return text
  const parts = text.length > DIGITS_MAX ? null : DECIMAL.exec(text)
  const [, sign, whole = '', fraction = ''] = parts ?? []
  if (parts === null || whole + fraction === '') return OTHER_SPELLING
  const digits = whole.replace(/^0+(?=\d)/, '') || '0'
  const magnitude = fraction === '' ? digits : `${digits}.${fraction}`
  return sign === '-' && /[1-9]/.test(magnitude) ? `-${magnitude}` : magnitude
}

const FLOAT = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i

export const doubles: OperandText = given => {
  if (!isNumberLike(given)) return WRONG_KIND
  const text = String(given)
  if (SPECIAL_NUMBERS.has(text)) return text
  if (!FLOAT.test(text)) return OTHER_SPELLING
  // What is too large or too small for the type is an error in PostgreSQL.
  return isOutside(Number(text), text) ? OTHER_VALUE : text
}

/** float4: PostgreSQL rounds the text to the nearest single; going through a double gives the same, but for those exactly between two singles. */
export const singles: OperandText = given => {
  const text = doubles(given)
  if (typeof text !== 'string' || SPECIAL_NUMBERS.has(text)) return text
  const double = Number(text)
  const single = Math.fround(double)
  if (isOutside(single, text)) return OTHER_VALUE
  const beyond = single + 2 * (double - single)
  return double !== single && Math.fround(beyond) === beyond ? OTHER_VALUE : String(single)
}

function isOutside(value: number, text: string): boolean {
  return !Number.isFinite(value) || (value === 0 && /[1-9]/.test(text.replace(/e.*/i, '')))
}

function isNumberLike(given: unknown): boolean {
  return typeof given === 'number' || typeof given === 'bigint' || typeof given === 'string'
}

const INSTANT =
  /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?$/
const INFINITIES: ReadonlySet<string> = new Set(['infinity', '-infinity'])

const isoDates = keyTextOf({ baseTypeOid: 1082, typeModifier: -1, typeKind: 'b', deterministic: true })

/** A Date is its day in the process's time zone, as `pg` sends it. */
export const dates: OperandText = given => {
  if (typeof given === 'string') return INFINITIES.has(given) ? given : isoDates(given)
  if (!(given instanceof Date)) return WRONG_KIND
  const parts = INSTANT.exec(databaseParameter(given))
  return parts === null ? OTHER_VALUE : isoDates(parts[1])
}

/** timestamp: PostgreSQL does not look at an offset. A Date is the wall clock of the process's time zone, as `pg` sends it. */
export const localTimes: OperandText = given => {
  const read = readInstantText(given)
  return typeof read === 'object' && 'day' in read ? `${read.day} ${read.time}` : read
}

/** timestamptz. */
export const instants: OperandText = given => {
  const read = readInstantText(given)
  if (typeof read !== 'object' || !('day' in read)) return read
  return read.zone === undefined
    ? ZONELESS
    : `${read.day} ${read.time}${read.zone === 'Z' ? '+00' : withColon(read.zone)}`
}

interface InstantText {
  readonly day: string
  readonly time: string
  readonly zone: string | undefined
}

function readInstantText(given: unknown): InstantText | string | NoKeyText {
  if (typeof given !== 'string' && !(given instanceof Date)) return WRONG_KIND
  const text = databaseParameter(given)
  if (INFINITIES.has(text)) return text
  const parts = INSTANT.exec(text)
  if (parts === null) return OTHER_SPELLING
  const [, day = '', hour = '00', minute = '00', second = '00', fraction = '', zone] = parts
  if (typeof isoDates(day) !== 'string' || !isTimeOfDay(hour, minute, second)) return OTHER_SPELLING
  if (zone !== undefined && Math.abs(Number(zone.slice(0, 3))) > 15) return OTHER_SPELLING
  return { day, time: timeText(hour, minute, second, fraction), zone }
}

function withColon(zone: string): string {
  return zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone
}

const TIME = /^(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?$/

export const timesOfDay: OperandText = given => {
  if (typeof given !== 'string') return WRONG_KIND
  const parts = TIME.exec(given)
  if (parts === null) return OTHER_SPELLING
  const [, hour = '', minute = '', second = '00', fraction = ''] = parts
  return isTimeOfDay(hour, minute, second) ? timeText(hour, minute, second, fraction) : OTHER_SPELLING
}

function isTimeOfDay(hour: string, minute: string, second: string): boolean {
  return Number(hour) < 24 && Number(minute) < 60 && Number(second) < 60
}

function timeText(hour: string, minute: string, second: string, fraction: string): string {
  const significant = fraction.replace(/0+$/, '')
  return `${hour}:${minute}:${second}${significant === '' ? '' : `.${significant}`}`
}
