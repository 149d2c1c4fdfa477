import type { Random } from './random.js'

/**
 * A column's value as the simulation writes it down: plain JSON, so that a history can be printed and hashed. What it
 * means is up to the column's `ValueType`; null is SQL NULL for all of them.
 */
export type Literal = null | boolean | number | string | readonly (string | null)[]

/** How one Postgres type is made up, written and read. The two functions are never called with null. */
export interface ValueType {
  readonly sql: string
  random(random: Random): Literal
  /** What to hand to `pg` as a parameter. */
  parameter(literal: Literal): unknown
  /** What `pg` gives for it in a SELECT. */
  seen(literal: Literal): unknown
}

const asItIs = (literal: Literal): unknown => literal

function plain(sql: string, random: (random: Random) => Literal): ValueType {
  return { sql, random, parameter: asItIs, seen: asItIs }
}

/** Pieces that codecs, COPY, quoting and array syntax are known to trip over. */
// biome-ignore format: one row of oddities reads better than forty lines
const PIECES = [
  '', ' ', 'a', 'Z', '0', 'null', 'NULL', '\\N', '\\', '\\.', '\\x', "'", '"', '""', ',', '{', '}', '(', ')', '\t', '\n', '\r\n',
  '$1', '%', ';', '--', 'é', 'e\u0301', 'ß', 'ı', '\ufeff', '\u200d', '漢字', 'עברית', '🦭', '👩‍👩‍👧', '\u{10ffff}', '\u0001', '\u007f', 'true', 'NaN',
] as const

export function shortText(random: Random): string {
  return Array.from({ length: random.below(6) }, () => random.pick(PIECES)).join('')
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Above 2 kB and nearly incompressible: stored out of line, so that an UPDATE of a neighbour leaves it unsent. */
function toastedText(random: Random): string {
  const groups = random.between(700, 1800)
  let text = ''
  for (let group = 0; group < groups; group++) {
    const bits = random.uint32()
    text +=
      BASE64[bits & 63]! +
      BASE64[(bits >>> 6) & 63]! +
      BASE64[(bits >>> 12) & 63]! +
      BASE64[(bits >>> 18) & 63]!
  }
  return text
}

function digits(random: Random, most: number): string {
  const count = random.between(1, most)
  return Array.from({ length: count }, (_, place) =>
    String(place === 0 ? random.between(1, 9) : random.below(10)),
  ).join('')
}

function numeric(random: Random): string {
  return random.chance(0.02) ? random.pick(['NaN', 'Infinity', '-Infinity']) : finiteNumeric(random)
}

function finiteNumeric(random: Random): string {
  if (random.chance(0.03)) return random.pick(['0', '0.000', '1.0', '1.00'])
  const sign = random.chance(0.5) ? '-' : ''
  const fraction = random.chance(0.6) ? `.${digits(random, 20)}` : ''
  return sign + digits(random, 25) + fraction
}

function instant(random: Random): string {
  if (random.chance(0.03)) return random.pick(['infinity', '-infinity'])
  const two = (low: number, high: number): string => String(random.between(low, high)).padStart(2, '0')
  const micros = random.chance(0.7) ? `.${String(random.below(1_000_000)).padStart(6, '0')}` : ''
  return `${random.between(1970, 2199)}-${two(1, 12)}-${two(1, 28)}T${two(0, 23)}:${two(0, 59)}:${two(0, 59)}${micros}Z`
}

function instantSeen(literal: Literal): unknown {
  if (literal === 'infinity') return Number.POSITIVE_INFINITY
  if (literal === '-infinity') return Number.NEGATIVE_INFINITY
  return new Date(String(literal))
}

function document(random: Random, depth = 0): unknown {
  const kind = random.weighted({
    text: 4,
    number: 3,
    boolean: 1,
    nothing: 1,
    list: depth < 3 ? 2 : 0,
    object: depth < 3 ? 4 : 0,
  })
  switch (kind) {
    case 'text':
      return shortText(random)
    case 'number':
      return random.chance(0.5) ? random.between(-1000, 1000) : random.below(1_000_000) / 64
    case 'boolean':
      return random.chance(0.5)
    case 'nothing':
      return null
    case 'list':
      return Array.from({ length: random.below(4) }, () => document(random, depth + 1))
    case 'object':
      return Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [`k${shortText(random)}`, document(random, depth + 1)]),
      )
  }
}

function hex(random: Random): string {
  return Array.from({ length: random.below(40) }, () => random.below(256).toString(16).padStart(2, '0')).join(
    '',
  )
}

function uuid(random: Random): string {
  const part = (): string => random.uint32().toString(16).padStart(8, '0')
  return [part(), part(), part(), part()]
    .join('')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

export const types = {
  int4: plain('integer', random => random.between(-2_147_483_648, 2_147_483_647)),
  int8: plain('bigint', random => random.pick(['', '-']) + digits(random, 18)),
  float8: plain('double precision', random => (random.uint32() - 2 ** 31) / 2 ** random.between(0, 40)),
  numeric: plain('numeric', numeric),
  finiteNumeric: plain('numeric', finiteNumeric),
  bool: plain('boolean', random => random.chance(0.5)),
  text: plain('text', shortText),
  toasted: plain('text', toastedText),
  uuid: plain('uuid', uuid),
  textArray: plain('text[]', random =>
    Array.from({ length: random.below(5) }, () => (random.chance(0.2) ? null : shortText(random))),
  ),
  timestamptz: { sql: 'timestamptz', random: instant, parameter: asItIs, seen: instantSeen },
  jsonb: {
    sql: 'jsonb',
    random: random => JSON.stringify(document(random)),
    parameter: asItIs,
    seen: literal => JSON.parse(String(literal)) as unknown,
  },
  bytea: {
    sql: 'bytea',
    random: hex,
    parameter: literal => Buffer.from(String(literal), 'hex'),
    seen: literal => Buffer.from(String(literal), 'hex'),
  },
} satisfies Record<string, ValueType>
