/** PostgreSQL's output text of values that arrive in binary, as a session with ISO dates and `extra_float_digits` 1 shows them. */

const MICROS_PER_SECOND = 1_000_000n
const MICROS_PER_DAY = 86_400n * MICROS_PER_SECOND
const DAYS_PER_ERA = 146_097
/** Days from 0000-03-01, where 400-year eras begin, to 1970-01-01. */
const ERA_OFFSET = 719_468

/** Exponents from which on PostgreSQL writes a number as `1e+15`. */
const FLOAT4_EXPONENT = 6
const FLOAT8_EXPONENT = 15
/** As many as `toExponential` gives: enough to tell a tie from what is near one. */
const EXACT_DIGITS = 100
/** Beyond it, whole decimals may lie exactly between two doubles. */
const TWO_TO_54 = 2 ** 54

/** `days` since 1970-01-01. */
export function dateText(days: number): string {
  const { date, isBc } = civil(days)
  return isBc ? `${date} BC` : date
}

/** `micros` since midnight; up to 24:00:00. */
export function timeText(micros: bigint): string {
  const seconds = Number(micros / MICROS_PER_SECOND)
  const fraction = Number(micros % MICROS_PER_SECOND)
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two).join(':')
  return fraction === 0 ? clock : `${clock}.${String(fraction).padStart(6, '0').replace(/0+$/, '')}`
}

/** `micros` since 1970-01-01 00:00:00; `zone` is what follows the time of day, as in `+00`. */
export function timestampText(micros: bigint, zone: string): string {
  const inDay = ((micros % MICROS_PER_DAY) + MICROS_PER_DAY) % MICROS_PER_DAY
  const { date, isBc } = civil(Number((micros - inDay) / MICROS_PER_DAY))
  return `${date} ${timeText(inDay)}${zone}${isBc ? ' BC' : ''}`
}

/** The proleptic Gregorian date, without the year 0: see https://howardhinnant.github.io/date_algorithms.html#civil_from_days. */
function civil(days: number): { readonly date: string; readonly isBc: boolean } {
  const shifted = days + ERA_OFFSET
  const era = Math.floor(shifted / DAYS_PER_ERA)
  const dayOfEra = shifted - era * DAYS_PER_ERA
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const isBc = year <= 0
  return { date: `${String(isBc ? 1 - year : year).padStart(4, '0')}-${two(month)}-${two(day)}`, isBc }
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}

export function float8Text(value: number): string {
  return special(value) ?? layout(shortestDouble(value), FLOAT8_EXPONENT)
}

/** Of a float4 that was widened to a double. */
export function float4Text(value: number): string {
  return special(value) ?? layout(shortestSingle(value), FLOAT4_EXPONENT)
}

function special(value: number): string | undefined {
  if (Number.isFinite(value)) return value === 0 ? (Object.is(value, -0) ? '-0' : '0') : undefined
  return String(value)
}

/**
 * The fewest digits that mean `value` and no other double, in exponential form. As JavaScript's own, except that PostgreSQL
 * takes no decimal that lies exactly between two doubles, though it would be read as the even one of them.
 */
function shortestDouble(value: number): string {
  const shortest = value.toExponential()
  if (Math.abs(value) < TWO_TO_54) return shortest
  const digits = shortest.indexOf('e') - (value < 0 ? 1 : 0)
  for (
    let precision = Math.max(digits - 1, 1), text = shortest;
    ;
    precision++, text = nearest(value, precision)
  ) {
    if (Number(text) === value && !isBetween(text, value)) return text
  }
}

/** Whether the whole number `text` lies exactly in the middle between `value` and a neighbour of it. */
function isBetween(text: string, value: number): boolean {
  const distance = wholeOf(text) - BigInt(value)
  if (distance === 0n) return false
  const neighbour = neighbourOf(value, distance > 0n === value > 0)
  return Number.isFinite(neighbour) && distance * 2n === BigInt(neighbour) - BigInt(value)
}

function wholeOf(exponential: string): bigint {
  const [mantissa, exponent] = exponential.split('e') as [string, string]
  const [whole, fraction = ''] = mantissa.split('.') as [string, string?]
  return BigInt(whole + fraction) * 10n ** BigInt(Number(exponent) - fraction.length)
}

const doubles = new Float64Array(1)
const doubleBits = new BigInt64Array(doubles.buffer)

/** The next double, away from zero or towards it. */
function neighbourOf(value: number, isAway: boolean): number {
  doubles[0] = value
  doubleBits[0]! += isAway ? 1n : -1n
  return doubles[0]
}

const singles = new Float32Array(1)
const singleBits = new Int32Array(singles.buffer)

/** The fewest digits that mean `value` and no other float4. The borders to its neighbours are doubles. */
function shortestSingle(value: number): string {
  const size = Math.abs(value)
  singles[0] = size
  const bits = singleBits[0]!
  singleBits[0] = bits + 1
  const above = singles[0]
  singleBits[0] = bits - 1
  const below = singles[0]
  const upper = Number.isFinite(above) ? (size + above) / 2 : size + (size - below) / 2
  const lower = (size + below) / 2
  const sign = value < 0 ? '-' : ''
  for (let precision = 1; ; precision++) {
    const text = nearest(size, precision)
    if (Number(text) > lower && Number(text) < upper) return sign + text
    // Below a power of two the neighbour is nearer, so the nearest decimal may be too far and the next one not.
    const next = incremented(text)
    if (Number(text) <= lower && Number(next) < upper) return sign + next
  }
}

/** The nearest decimal of `precision` digits; of two that are as near, the even one, where `toExponential` takes the larger. */
function nearest(value: number, precision: number): string {
  const text = value.toExponential(precision - 1)
  const [mantissa, exponent] = text.split('e') as [string, string]
  const last = Number(mantissa.at(-1))
  if (last % 2 === 0) return text
  const isTie = /^5?0*$/.test(
    value.toExponential(EXACT_DIGITS).split('e')[0]!.replace(/[-.]/g, '').slice(precision),
  )
  if (!isTie || Number(text) === value) return text
  return `${mantissa.slice(0, -1)}${last - 1}e${exponent}`
}

/** The next decimal of as many digits. */
function incremented(exponential: string): string {
  const [mantissa, exponent] = exponential.split('e') as [string, string]
  const digits = String(Number(mantissa.replace('.', '')) + 1)
  const carry = digits.length - mantissa.replace('.', '').length
  return `${digits[0]}${digits.length > 1 ? `.${digits.slice(1)}` : ''}e${Number(exponent) + carry}`
}

/** Digits in exponential form as PostgreSQL lays them out. */
function layout(exponential: string, exponentMax: number): string {
  const [mantissa, exponentText] = exponential.split('e') as [string, string]
  const sign = mantissa.startsWith('-') ? '-' : ''
  const digits = mantissa.replace(/^-/, '').replace('.', '').replace(/0+$/, '')
  const exponent = Number(exponentText)
  if (exponent < -4 || exponent >= exponentMax) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : ''
    return `${sign}${digits[0]}${fraction}e${exponent < 0 ? '-' : '+'}${two(Math.abs(exponent))}`
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
  if (digits.length <= exponent + 1) return sign + digits.padEnd(exponent + 1, '0')
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`
}
