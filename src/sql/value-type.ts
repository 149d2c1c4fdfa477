import {
  type CompareTexts,
  compareBytes,
  compareFolded,
  compareIntegers,
  compareNumbers,
  compareNumerics,
  compareTrimmed,
  floatOf,
} from './compare-bytes.js'
import { type KeyColumnType, type NoKeyText } from './key-text.js'
import {
  asKeys,
  dates,
  doubles,
  enumLabels,
  instants,
  localTimes,
  numerics,
  type OperandText,
  plainTexts,
  singles,
  timesOfDay,
} from './operand.js'
import { compareInstants, compareLocalTimes } from './temporal.js'

/** What has to be known of a column to compare its values as PostgreSQL does. */
export interface ComparedColumn extends KeyColumnType {
  /** Whether its texts sort by code point: the collation is C or POSIX, or the built-in C.UTF-8. */
  readonly codePointOrder: boolean
  /** The enum's labels in their order; null for other types. */
  readonly enumLabels: readonly string[] | null
  /** Whether it is a citext that folds as C does: A to Z, and nothing else. */
  readonly foldsAscii: boolean
}

/** How the values of a column compare, as PostgreSQL's texts of them. */
export type ValueType = PlainType | EnumType

interface ComparedType {
  /** 0 exactly for values that PostgreSQL calls equal. Its sign means nothing if `ordered` is false. */
  readonly compare: CompareTexts
  /** Whether `compare` is PostgreSQL's order. */
  readonly ordered: boolean
  /** Whether LIKE looks at the bytes. */
  readonly like: boolean
  readonly operand: OperandText
  /** False once a value was met that the type, as it was when the table was loaded, does not have. */
  readonly sound: boolean
}

interface PlainType extends ComparedType {
  readonly name:
    | 'integer'
    | 'numeric'
    | 'float4'
    | 'float8'
    | 'boolean'
    | 'text'
    | 'bpchar'
    | 'citext'
    | 'uuid'
    | 'bytea'
    | 'date'
    | 'time'
    | 'timestamp'
    | 'timestamptz'
}

/** Why values of a column can't be compared here. */
export interface NoValueType {
  readonly why: 'type' | 'collation'
  readonly reason: string
}

const NOT_COMPARED: NoValueType = {
  why: 'type',
  reason: 'values of this type are compared by PostgreSQL only.',
}
const NONDETERMINISTIC: NoValueType = {
  why: 'collation',
  reason: 'its collation takes different texts for equal.',
}

type Fixed = Pick<PlainType, 'name' | 'compare' | 'operand'> & Partial<Pick<PlainType, 'ordered' | 'like'>>

const fixed = (type: Fixed): PlainType => ({ ordered: true, like: false, sound: true, ...type })

const NUMERIC = fixed({ name: 'numeric', compare: compareNumerics, operand: numerics })
const FLOAT8 = fixed({
  name: 'float8',
  compare: (a, aStart, aEnd, b, bStart, bEnd) =>
    compareNumbers(floatOf(a, aStart, aEnd), floatOf(b, bStart, bEnd)),
  operand: doubles,
})
const FLOAT4 = fixed({
  name: 'float4',
  compare: (a, aStart, aEnd, b, bStart, bEnd) =>
    compareNumbers(Math.fround(floatOf(a, aStart, aEnd)), Math.fround(floatOf(b, bStart, bEnd))),
  operand: singles,
})
const DATE = fixed({ name: 'date', compare: compareLocalTimes, operand: dates })
const TIME = fixed({ name: 'time', compare: compareBytes, operand: timesOfDay })
const TIMESTAMP = fixed({ name: 'timestamp', compare: compareLocalTimes, operand: localTimes })
const TIMESTAMPTZ = fixed({ name: 'timestamptz', compare: compareInstants, operand: instants })
const CITEXT = fixed({ name: 'citext', compare: compareFolded, operand: plainTexts })

/** How the values of `column` compare, or why that is not known here. Made once a column and table: enums remember what they met. */
export function valueTypeOf(column: ComparedColumn): ValueType | NoValueType {
  if (!column.deterministic) return NONDETERMINISTIC
  if (column.typeKind === 'e')
    return column.enumLabels === null ? NOT_COMPARED : new EnumType(column.enumLabels)
  if (column.foldsAscii) return CITEXT
  const { codePointOrder } = column
  switch (column.baseTypeOid) {
    case 20:
    case 21:
    case 23:
    case 26:
      return fixed({ name: 'integer', compare: compareIntegers, operand: asKeys(column) })
    case 16:
      return fixed({ name: 'boolean', compare: compareBytes, operand: asKeys(column) })
    case 19:
    case 25:
    case 1043:
      return fixed({
        name: 'text',
        compare: compareBytes,
        operand: asKeys(column),
        ordered: codePointOrder,
        like: true,
      })
    case 1042:
      return fixed({
        name: 'bpchar',
        compare: compareTrimmed,
        operand: plainTexts,
        ordered: codePointOrder,
        like: true,
      })
    case 2950:
      return fixed({ name: 'uuid', compare: compareBytes, operand: asKeys(column) })
    case 17:
      return fixed({ name: 'bytea', compare: compareBytes, operand: asKeys(column) })
    case 700:
      return FLOAT4
    case 701:
      return FLOAT8
    case 1700:
      return NUMERIC
    case 1082:
      return DATE
    case 1083:
      return TIME
    case 1114:
      return TIMESTAMP
    case 1184:
      return TIMESTAMPTZ
    default:
      return NOT_COMPARED
  }
}

export function isNoValueType(type: ValueType | NoValueType): type is NoValueType {
  return 'why' in type
}

export function isText(text: string | NoKeyText): text is string {
  return typeof text === 'string'
}

/** An enum's values are in the order of its labels. A label that was added since may be anywhere among them: then nothing is known of the order any more. */
class EnumType implements ComparedType {
  readonly name = 'enum'
  readonly like = false
  readonly ordered = true
  readonly operand: OperandText
  readonly #ranks: ReadonlyMap<string, number>
  #sound = true

  constructor(labels: readonly string[]) {
    this.#ranks = new Map(labels.map((label, rank) => [label, rank]))
    this.operand = enumLabels(labels)
  }

  get sound(): boolean {
    return this.#sound
  }

  readonly compare: CompareTexts = (a, aStart, aEnd, b, bStart, bEnd) => {
    const difference = this.rank(a, aStart, aEnd) - this.rank(b, bStart, bEnd)
    return difference === 0 ? compareBytes(a, aStart, aEnd, b, bStart, bEnd) : difference
  }

  /** How many labels are known. */
  get ranks(): number {
    return this.#ranks.size
  }

  /** The place of this label; behind all others for one that is not known. */
  readonly rank = (bytes: Uint8Array, start: number, end: number): number => {
    const label = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8')
    const rank = this.#ranks.get(label)
    if (rank === undefined) this.#sound = false
    return rank ?? this.#ranks.size
  }
}
