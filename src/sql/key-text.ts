/** What has to be known of a column to spell its values. */
export interface KeyColumnType {
  /** Domains resolved. */
  readonly baseTypeOid: number
  /** -1 if there is none. */
  readonly typeModifier: number
  /** `pg_type.typtype` of the base type. */
  readonly typeKind: string
  /** False under a nondeterministic collation. */
  readonly deterministic: boolean
}

/**
 * Why a value has no text that could be looked up in memory: `unprovable` values only PostgreSQL can compare;
 * `impossible` ones can't be of the column's type at all.
 */
export interface NoKeyText {
  readonly kind: 'unprovable' | 'impossible'
  /** Says nothing of the value itself. */
  readonly reason: string
}

/**
 * The text that PostgreSQL shows for the one stored value that equals `value`, or why there is no saying.
 *
 * Two values of the column are equal exactly if these texts are. A text that the column can't hold (too long, say) may
 * come back as well: no row has it. Nothing is allocated for integers and for texts that are canonical already.
 */
export type KeyText = (value: unknown) => string | NoKeyText

/** How keys of a column are spelled; prepared once for each column. */
export function keyTextOf({ baseTypeOid, typeModifier, typeKind, deterministic }: KeyColumnType): KeyText {
  if (!deterministic) return () => NONDETERMINISTIC
  if (typeKind === 'e') return labelText
  switch (baseTypeOid) {
    case 21:
      return int2Text
    case 23:
      return int4Text
    case 20:
      return int8Text
    case 26:
      return oidText
    case 16:
      return boolText
    case 25:
    case 1043:
      return plainText
    case 19:
      return labelText
    case 1042:
      return typeModifier < MODIFIER_HEADER ? () => OTHER_TYPE : paddedText(typeModifier - MODIFIER_HEADER)
    case 2950:
      return uuidText
    case 1700:
      return typeModifier < MODIFIER_HEADER ? () => SCALELESS : numericText(scaleOf(typeModifier))
    case 17:
      return byteaText
    case 1082:
      return dateText
    case 869:
      return onlyAs(IPV4)
    case 829:
      return onlyAs(MACADDR)
    default:
      return () => OTHER_TYPE
  }
}

/**
 * `value` as the text of a query parameter, which PostgreSQL reads as it would read the value that `pg` sends.
 *
 * @throws {TypeError} for what can't be a parameter: undefined, null, or an object that is neither Date nor bytes.
 */
export function databaseParameter(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean')
    return String(value)
  if (value instanceof Date) return localTimestamp(value)
  if (value instanceof Uint8Array) return hexText(value)
  throw new TypeError('A key is made of texts, numbers, booleans, Dates and bytes.')
}

/** VARHDRSZ: what PostgreSQL adds to the modifiers of char(n) and numeric, so that 0 can be told from none. */
const MODIFIER_HEADER = 4

/** NAMEDATALEN - 1: names and enum labels are at most so many bytes, and longer ones are cut. */
const NAME_BYTES_MAX = 63

const unprovable = (reason: string): NoKeyText => Object.freeze({ kind: 'unprovable', reason })
const impossible = (reason: string): NoKeyText => Object.freeze({ kind: 'impossible', reason })

const NONDETERMINISTIC = unprovable('its collation takes different texts for equal.')
const OTHER_TYPE = unprovable('values of its type may be equal though their texts differ.')
const SCALELESS = unprovable('its type is numeric without a scale, where 1.0 equals 1.00.')
const OTHER_SPELLING = unprovable('only PostgreSQL can read this spelling.')

const NOT_INTEGER = impossible('an integer is needed: a number, bigint or text of digits.')
const NOT_SAFE = impossible(
  'this number is beyond 2^53, where numbers are not exact: give a bigint or a text.',
)
const OUT_OF_RANGE = impossible('the integer is out of the range of its type.')
const NOT_BOOLEAN = impossible('a boolean is needed.')
const NOT_TEXT = impossible('a text is needed.')
const NOT_STORABLE = impossible(
  "the text has a NUL or half a surrogate pair, which PostgreSQL's text can't hold.",
)
const NOT_UUID = impossible('a uuid is needed.')
const NOT_NUMERIC = impossible('a number, bigint or text is needed.')
const NOT_BYTES = impossible('bytes are needed, or their text.')
const NOT_DATE = impossible("a date's text, as in 2024-12-31, is needed.")
const DATE_OBJECT = unprovable(
  "a Date is an instant, and its day depends on a time zone: give the date's text.",
)

const int2Text = integerText(-0x8000n, 0x7fffn)
const int4Text = integerText(-0x8000_0000n, 0x7fff_ffffn)
const int8Text = integerText(-0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn)

const CANONICAL_INTEGER = /^(?:0|-?[1-9]\d*)$/
// What isspace() skips; \s would also take Unicode's spaces, at which PostgreSQL stops.
const INTEGER = /^[ \t\n\v\f\r]*([+-]?\d+)[ \t\n\v\f\r]*$/
/** 0x1F and 1_000 are integers from 16 on. */
const MAYBE_INTEGER = /^[ \t\n\v\f\r]*[+-]?0?[\da-z][\da-z_]*[ \t\n\v\f\r]*$/i

function integerText(min: bigint, max: bigint): KeyText {
  const safeMin = Math.max(Number(min), Number.MIN_SAFE_INTEGER)
  const safeMax = Math.min(Number(max), Number.MAX_SAFE_INTEGER)
  // A text of so many characters is in range, whatever its digits.
  const shortLength = String(max).length - 1
  const ranged = (value: bigint): string | NoKeyText =>
    value < min || value > max ? OUT_OF_RANGE : String(value)
  return value => {
    if (typeof value === 'number') {
      if (!Number.isInteger(value)) return NOT_INTEGER
      if (value >= safeMin && value <= safeMax) return String(value)
      return value < Number(min) || value > Number(max) ? OUT_OF_RANGE : NOT_SAFE
    }
    if (typeof value === 'bigint') return ranged(value)
    if (typeof value !== 'string') return NOT_INTEGER
    if (value.length <= shortLength && CANONICAL_INTEGER.test(value)) return value
    const digits = INTEGER.exec(value)?.[1]
    if (digits !== undefined) return ranged(BigInt(digits.startsWith('+') ? digits.slice(1) : digits))
    return MAYBE_INTEGER.test(value) && /\d/.test(value) ? OTHER_SPELLING : NOT_INTEGER
  }
}

const unsigned32Text = integerText(0n, 0xffff_ffffn)

/** From 16 on a text with a leading zero is octal, and a negative one is wrapped in all versions. */
function oidText(value: unknown): string | NoKeyText {
  if (typeof value !== 'string') return unsigned32Text(value)
  if (CANONICAL_INTEGER.test(value) && !value.startsWith('-')) return unsigned32Text(value)
  return INTEGER.test(value) ? OTHER_SPELLING : NOT_INTEGER
}

function boolText(value: unknown): string | NoKeyText {
  if (typeof value === 'boolean') return value ? 't' : 'f'
  if (typeof value !== 'string') return NOT_BOOLEAN
  if (value === 't' || value === 'true') return 't'
  if (value === 'f' || value === 'false') return 'f'
  return OTHER_SPELLING
}

// Under the u flag a whole pair is one character, so the range matches halves only.
const NOT_IN_TEXT = /[\0\ud800-\udfff]/u

/** Of the types whose values are any texts, each as it is. */
export function plainText(value: unknown): string | NoKeyText {
  if (typeof value !== 'string') return NOT_TEXT
  return NOT_IN_TEXT.test(value) ? NOT_STORABLE : value
}

function labelText(value: unknown): string | NoKeyText {
  const text = plainText(value)
  return typeof text === 'string' && Buffer.byteLength(text) > NAME_BYTES_MAX ? OTHER_SPELLING : text
}

function paddedText(length: number): KeyText {
  return value => {
    const text = plainText(value)
    if (typeof text !== 'string') return text
    const trimmed = text.replace(/ +$/, '')
    const missing = length - characterCount(trimmed)
    return missing > 0 ? trimmed + ' '.repeat(missing) : trimmed
  }
}

/** Characters as PostgreSQL counts them: code points. */
function characterCount(text: string): number {
  let count = 0
  for (const _ of text) count++
  return count
}

const CANONICAL_UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/
/** A hyphen may follow each group of four digits, and braces may enclose it all. */
const UUID = /^(?:\{[\da-f]{4}(?:-?[\da-f]{4}){7}\}|[\da-f]{4}(?:-?[\da-f]{4}){7})$/i

function uuidText(value: unknown): string | NoKeyText {
  if (typeof value !== 'string') return NOT_UUID
  if (CANONICAL_UUID.test(value)) return value
  if (!UUID.test(value)) return NOT_UUID
  const hex = value.replaceAll(/[{}-]/g, '').toLowerCase()
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** Digits behind the point, from numeric's modifier; negative ones round to tens. */
function scaleOf(typeModifier: number): number {
  const bits = (typeModifier - MODIFIER_HEADER) & 0x7ff
  return (bits ^ 1024) - 1024
}

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?$/

function numericText(scale: number): KeyText {
  if (scale < 0) return () => OTHER_TYPE
  return value => {
    if (typeof value !== 'number' && typeof value !== 'bigint' && typeof value !== 'string')
      return NOT_NUMERIC
    const parts = DECIMAL.exec(String(value))
    const [, sign, whole = '', fraction = ''] = parts ?? []
    if (parts === null || whole + fraction === '') return OTHER_SPELLING
    const significant = fraction.replace(/0+$/, '')
    if (significant.length > scale) return OTHER_SPELLING
    const digits = whole.replace(/^0+(?=\d)/, '') || '0'
    const text = scale === 0 ? digits : `${digits}.${significant.padEnd(scale, '0')}`
    return sign === '-' && /[1-9]/.test(text) ? `-${text}` : text
  }
}

const HEX_BYTES = /^\\x(?:[\da-f]{2})*$/

function byteaText(value: unknown): string | NoKeyText {
  if (value instanceof Uint8Array) return hexText(value)
  if (typeof value !== 'string') return NOT_BYTES
  return HEX_BYTES.test(value) ? value : OTHER_SPELLING
}

function hexText({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return `\\x${Buffer.from(buffer, byteOffset, byteLength).toString('hex')}`
}

const ISO_DATE = /^(\d{4})-(\d\d)-(\d\d)$/

function dateText(value: unknown): string | NoKeyText {
  if (value instanceof Date) return DATE_OBJECT
  if (typeof value !== 'string') return NOT_DATE
  const parts = ISO_DATE.exec(value)
  if (parts === null) return OTHER_SPELLING
  const [, year, month, day] = parts
  const inCalendar = Number(year) > 0 && Number(day) > 0 && Number(day) <= daysIn(Number(year), Number(month))
  return inCalendar ? value : NOT_DATE
}

/** 0 for what is no month. */
function daysIn(year: number, month: number): number {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0
}

/** Without a mask: PostgreSQL leaves out /32. */
const IPV4 = /^(?:(?:0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])(?:\.(?!$)|$)){4}$/
const MACADDR = /^[\da-f]{2}(?::[\da-f]{2}){5}$/

/** Texts of this form are canonical; all others are left to PostgreSQL. */
function onlyAs(canonical: RegExp): KeyText {
  return value => {
    if (typeof value !== 'string') return NOT_TEXT
    return canonical.test(value) ? value : OTHER_SPELLING
  }
}

/** As `pg` sends a Date: local time with its offset, so that it is right for timestamp and date, too. */
function localTimestamp(date: Date): string {
  if (Number.isNaN(date.getTime())) throw new TypeError('A key has an invalid Date.')
  const two = (part: number): string => String(part).padStart(2, '0')
  const year = date.getFullYear()
  const day = `${String(year > 0 ? year : 1 - year).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`
  const offset = -date.getTimezoneOffset()
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`
  return `${day}T${time}${zone}${year > 0 ? '' : ' BC'}`
}
