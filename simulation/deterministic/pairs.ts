import type { DecoderName } from '../../src/decode/index.js'
import { decoderNames } from '../decoders.js'
import { CHANCE_FAULTS, COUNTED, type FaultName, TIMED_FAULTS } from './faults.js'
import type { TableSpec } from './schema.js'

/** What a transaction does, as far as streams, snapshots and fills treat it differently. */
export const OPERATIONS = [
  'insert',
  'update',
  'update beside an out-of-line value',
  'key change',
  'delete',
  'truncate',
  'swap of keys',
  'transfer',
  'rollback to a savepoint',
  'two-phase commit',
  'asynchronous commit',
  'giant transaction',
  'logical message',
  'empty transaction',
] as const

export type Operation = (typeof OPERATIONS)[number]
export type Identity = TableSpec['identity']
export type Residency = 'whole' | 'bounded'

export const FAULTS: readonly FaultName[] = [...CHANCE_FAULTS, ...TIMED_FAULTS, ...COUNTED]

/** What a run may be made of: each pair of values of two of these is to be met. */
export const DIMENSIONS = {
  fault: FAULTS,
  operation: OPERATIONS as readonly Operation[],
  identity: ['default', 'full'] as readonly Identity[],
  decoder: decoderNames,
  residency: ['whole', 'bounded'] as readonly Residency[],
} as const

type Dimension = keyof typeof DIMENSIONS

/** One value of each of two dimensions. */
export type Pair = Partial<{
  readonly [D in Dimension]: (typeof DIMENSIONS)[D][number]
}>

interface Value {
  readonly dimension: Dimension
  readonly name: string
}

const VALUES: readonly Value[] = (Object.keys(DIMENSIONS) as Dimension[]).flatMap(dimension =>
  DIMENSIONS[dimension].map(name => ({ dimension, name })),
)
const COUNT = VALUES.length
const NUMBERS = new Map(VALUES.map(({ dimension, name }, number) => [`${dimension} ${name}`, number]))

function numberOf(dimension: Dimension, name: string): number {
  const number = NUMBERS.get(`${dimension} ${name}`)
  if (number === undefined) throw new Error(`No ${dimension} is called "${name}".`)
  return number
}

const DECODER_SENDS_NO_TRUNCATE =
  'it sends nothing for TRUNCATE; that is found by the table’s file, which is tried on real servers'
const HEEDS_NO_PUBLICATION = 'it heeds no publication'
const HAS_NO_TABLE = 'it is about no table'
const SUMS_ARE_WHOLE = 'the sums are taken over whole tables, in memory alone'

/** Pairs that are not to be had, and why not. */
const INFEASIBLE: readonly { readonly pair: Pair; readonly reason: string }[] = [
  { pair: { operation: 'truncate', decoder: 'decoderbufs' }, reason: DECODER_SENDS_NO_TRUNCATE },
  { pair: { operation: 'transfer', residency: 'bounded' }, reason: SUMS_ARE_WHOLE },
  ...(['wal2json', 'decoderbufs'] as const).map(decoder => ({
    pair: { fault: 'table leaves the publication' as const, decoder },
    reason: HEEDS_NO_PUBLICATION,
  })),
  ...(['logical message', 'empty transaction'] as const).flatMap(operation => [
    ...DIMENSIONS.identity.map(identity => ({ pair: { operation, identity }, reason: HAS_NO_TABLE })),
    ...DIMENSIONS.residency.map(residency => ({ pair: { operation, residency }, reason: HAS_NO_TABLE })),
  ]),
]

const REASONS = new Map(INFEASIBLE.map(({ pair, reason }) => [indexOf(pair), reason]))

/** Where a pair is counted: its values in the order of the dimensions. */
function indexOf(pair: Pair): number {
  const [one, other] = Object.entries(pair)
    .map(([dimension, name]) => numberOf(dimension as Dimension, name))
    .toSorted((a, b) => a - b)
  return one! * COUNT + other!
}

const FEASIBLE: readonly number[] = VALUES.flatMap(({ dimension }, one) =>
  VALUES.flatMap((value, other) =>
    other > one && value.dimension !== dimension && !REASONS.has(one * COUNT + other)
      ? [one * COUNT + other]
      : [],
  ),
)

/** An operation on a kind of table, as one number. */
export type Cell = number

const TABLE_KINDS = 5
const NO_TABLE = 4

export function cellOf(operation: Operation, spec: TableSpec | null): Cell {
  const table =
    spec === null || !spec.isMapped
      ? NO_TABLE
      : (spec.identity === 'full' ? 2 : 0) + (spec.maxRows === null ? 0 : 1)
  return OPERATIONS.indexOf(operation) * TABLE_KINDS + table
}

export function operationOf(cell: Cell): Operation {
  return OPERATIONS[Math.floor(cell / TABLE_KINDS)]!
}

const FIRST_OPERATION = numberOf('operation', OPERATIONS[0])
const IDENTITIES = DIMENSIONS.identity.map(name => numberOf('identity', name))
const RESIDENCIES = DIMENSIONS.residency.map(name => numberOf('residency', name))

export interface PairReport {
  readonly feasible: number
  readonly covered: number
  readonly percent: number
  /** The first of those that are missing. */
  readonly missing: readonly string[]
  readonly infeasible: Readonly<Record<string, string>>
}

/** So many missing pairs are named. */
const MISSING_SHOWN = 40

/** Which pairs have been met. */
export class Pairs {
  readonly #met = new Uint8Array(COUNT * COUNT)

  /** A fault has struck while these operations were under way: done, and not yet shown by the cache. */
  struck(fault: FaultName, decoder: DecoderName, cells: ReadonlySet<Cell>): void {
    const number = numberOf('fault', fault)
    this.#meet(number, numberOf('decoder', decoder))
    for (const cell of cells) for (const other of valuesOf(cell)) this.#meet(number, other)
  }

  /** A transaction of these operations was committed. */
  committed(decoder: DecoderName, cells: ReadonlySet<Cell>): void {
    const number = numberOf('decoder', decoder)
    for (const cell of cells) {
      const values = valuesOf(cell)
      for (const [i, one] of values.entries()) {
        for (const other of values.slice(i + 1)) this.#meet(one, other)
        this.#meet(one, number)
      }
    }
  }

  add(met: Uint8Array): void {
    for (let i = 0; i < this.#met.length; i++) this.#met[i]! |= met[i]!
  }

  /** For `add`, of these or others. */
  get met(): Uint8Array {
    return this.#met
  }

  /** Feasible pairs that were not met, in an order of their own. */
  get missing(): Pair[] {
    return FEASIBLE.filter(index => this.#met[index] === 0).map(pairAt)
  }

  get covered(): number {
    return FEASIBLE.reduce((sum, index) => sum + this.#met[index]!, 0)
  }

  get report(): PairReport {
    const { covered, missing } = this
    return {
      feasible: FEASIBLE.length,
      covered,
      percent: Math.floor((covered / FEASIBLE.length) * 10_000) / 100,
      missing: missing.slice(0, MISSING_SHOWN).map(textOfPair),
      infeasible: Object.fromEntries(INFEASIBLE.map(({ pair, reason }) => [textOfPair(pair), reason])),
    }
  }

  #meet(one: number, other: number): void {
    this.#met[one < other ? one * COUNT + other : other * COUNT + one] = 1
  }
}

/** The operation, and the table's identity and residency. */
function valuesOf(cell: Cell): number[] {
  const table = cell % TABLE_KINDS
  const operation = FIRST_OPERATION + Math.floor(cell / TABLE_KINDS)
  return table === NO_TABLE ? [operation] : [operation, IDENTITIES[table >> 1]!, RESIDENCIES[table & 1]!]
}

function pairAt(index: number): Pair {
  const values = [VALUES[Math.floor(index / COUNT)]!, VALUES[index % COUNT]!]
  return Object.fromEntries(values.map(({ dimension, name }) => [dimension, name])) as Pair
}

/** `fault=stream cut,operation=truncate`. */
export function textOfPair(pair: Pair): string {
  return Object.entries(pair)
    .map(([dimension, name]) => `${dimension}=${name}`)
    .join(',')
}

/** @throws {Error} if there is no such dimension or value. */
export function pairOf(text: string): Pair {
  const values = text.split(',').map(part => {
    const [dimension, name] = part.split('=')
    numberOf(dimension as Dimension, name ?? '')
    return [dimension, name] as const
  })
  return Object.fromEntries(values) as Pair
}
