import type { Random } from '../random.js'
import type { Operation, Pair } from './pairs.js'
import {
  accounts,
  bank,
  cash,
  events,
  EXTERNAL_LENGTH,
  foreign,
  items,
  keyOf,
  lines,
  type TableSpec,
  type Texts,
} from './schema.js'
import type { Script, ScriptTransaction, Step } from './script.js'

/** Of what a history is made; each run has some of it. */
export interface Mix {
  readonly writers: number
  /** Of each writer. */
  readonly transactions: number
  readonly stepsMax: number
  /** Few keys: writers, readers and evictions meet all the time. */
  readonly keys: number
  readonly tables: readonly TableSpec[]
  readonly features: ReadonlySet<Feature>
  /** Virtual milliseconds between transactions of a writer, at most. */
  readonly pauseMs: number
  /** Of a giant transaction. */
  readonly giantSteps: number
  /** How many transactions are giant, if there are such. */
  readonly giantChance: number
  /** What the run is to have much of. */
  readonly favours: Pair
}

/** What a run may have or not have. */
export const FEATURES = [
  'savepoints',
  'rollbacks',
  'two-phase',
  'key changes',
  'swaps',
  'truncate',
  'toast',
  'deletes',
  'empty transactions',
  'messages',
  'foreign tables',
  'asynchronous commits',
  'limbo',
  'giant transactions',
  'escaped texts',
] as const

export type Feature = (typeof FEATURES)[number]

const WEIGHTS = {
  update: 30,
  insert: 22,
  delete: 9,
  rekey: 7,
  swap: 3,
  transfer: 14,
  truncate: 1,
  message: 2,
  empty: 2,
}

/** What an operation needs. */
const FEATURE_OF: Readonly<Partial<Record<Operation, Feature>>> = {
  'update beside an out-of-line value': 'toast',
  'key change': 'key changes',
  delete: 'deletes',
  truncate: 'truncate',
  'swap of keys': 'swaps',
  'rollback to a savepoint': 'savepoints',
  'two-phase commit': 'two-phase',
  'asynchronous commit': 'asynchronous commits',
  'giant transaction': 'giant transactions',
  'logical message': 'messages',
  'empty transaction': 'empty transactions',
}

/** What a run that favours this has to have. */
export function needsOf({ operation, identity, residency }: Pair): {
  readonly feature: Feature | undefined
  readonly tables: readonly TableSpec[]
} {
  const tables = operation === 'transfer' ? [cash, bank] : []
  if (identity === 'full' || residency === 'bounded')
    tables.push(
      ...[lines, items, events].filter(
        each =>
          (identity ?? each.identity) === each.identity &&
          (residency === undefined || (residency === 'bounded') === (each.maxRows !== null)),
      ),
    )
  return { feature: operation && FEATURE_OF[operation], tables }
}

/** A history from random numbers: the same for the same numbers. */
export function generate(random: Random, mix: Mix): Script {
  const writers = Array.from({ length: mix.writers }, () => {
    const count = Math.max(1, mix.transactions)
    return Array.from({ length: count }, () => transaction(random, mix))
  })
  // Whatever chance has left out, every history has.
  writers[0]!.push(...essentials(random, mix, 0))
  return { writers }
}

/** Of steps and transactions, so many are what the run favours. */
const FAVOURED = 0.3

function favours(random: Random, { favours: { operation } }: Mix, one: Operation): boolean {
  return operation === one && random.chance(FAVOURED)
}

function transaction(random: Random, mix: Mix): ScriptTransaction {
  const has = (feature: Feature): boolean => mix.features.has(feature)
  const isGiant =
    (has('giant transactions') && random.chance(mix.giantChance)) || favours(random, mix, 'giant transaction')
  if (favours(random, mix, 'empty transaction'))
    return { ...ended(random, mix, [{ kind: 'empty' }], isGiant), end: 'commit' }
  const count = isGiant ? mix.giantSteps : random.between(1, mix.stepsMax)
  const steps: Step[] = []
  let open = 0
  for (let i = 0; i < count; i++) {
    if (has('savepoints') && random.chance(0.12)) {
      steps.push({ kind: 'savepoint' })
      open++
    }
    steps.push(step(random, mix))
    if (open > 0 && random.chance(0.4)) {
      steps.push({ kind: random.chance(0.5) ? 'rollback to' : 'release' })
      open--
    }
  }
  if (favours(random, mix, 'rollback to a savepoint'))
    steps.push({ kind: 'savepoint' }, step(random, mix), { kind: 'rollback to' }, step(random, mix))
  return ended(random, mix, steps, isGiant)
}

function ended(random: Random, mix: Mix, steps: Step[], isGiant: boolean): ScriptTransaction {
  const has = (feature: Feature): boolean => mix.features.has(feature)
  // TRUNCATE does not go together with a prepared transaction here: it would lock everybody out for too long.
  const mayPrepare = has('two-phase') && !steps.some(({ kind }) => kind === 'truncate')
  const end = ending(random, has('rollbacks'), mayPrepare)
  return {
    afterMs: random.below(mix.pauseMs * 1000) / 1000,
    steps,
    end: mayPrepare && favours(random, mix, 'two-phase commit') ? 'prepare and commit' : end,
    isSynchronous:
      !(has('asynchronous commits') && random.chance(0.3)) && !favours(random, mix, 'asynchronous commit'),
    stepMs: isGiant ? 0 : random.below(3) / 4,
    limboMs: has('limbo') ? random.pick([0, 0, 0.2, 3, 40]) : random.below(3) / 10,
  }
}

function ending(random: Random, rollsBack: boolean, prepares: boolean): ScriptTransaction['end'] {
  if (rollsBack && random.chance(0.12)) return 'rollback'
  if (prepares && random.chance(0.12))
    return random.chance(0.8) ? 'prepare and commit' : 'prepare and rollback'
  return 'commit'
}

/** Kinds that a run does not have become updates. */
function step(random: Random, mix: Mix): Step {
  const { features } = mix
  const { operation } = mix.favours
  const wanted = operation === undefined ? undefined : STEP_OF[operation]
  const kind = wanted !== undefined && random.chance(FAVOURED) ? wanted : random.weighted(WEIGHTS)
  const table = features.has('foreign tables') && random.chance(0.05) ? foreign : someTable(random, mix)
  if (kind === 'insert') return insert(random, mix, table)
  if (kind === 'delete' && features.has('deletes')) return { kind, table, key: someKey(random, mix, table) }
  if (kind === 'rekey' && features.has('key changes')) return rekey(random, mix, table)
  if (kind === 'swap' && features.has('swaps'))
    return { kind, table, keys: [someKey(random, mix, table), someKey(random, mix, table)] }
  if (kind === 'transfer' && mix.tables.includes(cash)) return transfer(random, mix)
  if (kind === 'truncate' && features.has('truncate')) return { kind, table }
  if (kind === 'message' && features.has('messages')) return { kind }
  if (kind === 'empty' && features.has('empty transactions')) return { kind }
  return update(random, mix, table)
}

/** The step that is an operation. */
const STEP_OF: Readonly<Partial<Record<Operation, keyof typeof WEIGHTS>>> = {
  insert: 'insert',
  update: 'update',
  'update beside an out-of-line value': 'update',
  'key change': 'rekey',
  delete: 'delete',
  truncate: 'truncate',
  'swap of keys': 'swap',
  transfer: 'transfer',
  'logical message': 'message',
}

function someTable(random: Random, mix: Mix): TableSpec {
  const { identity, residency } = mix.favours
  const tables = plain(mix)
  if (identity === undefined && residency === undefined) return random.pick(tables)
  const favoured = tables.filter(
    table =>
      (identity ?? table.identity) === table.identity &&
      (residency === undefined || (residency === 'bounded') === (table.maxRows !== null)),
  )
  return random.pick(favoured.length > 0 && random.chance(0.6) ? favoured : tables)
}

/** Those whose rows come and go. */
function plain({ tables }: Mix): TableSpec[] {
  return tables.filter(({ balance, isMapped }) => balance < 0 && isMapped)
}

function transfer(random: Random, mix: Mix): Step {
  const [from, to] = random.chance(0.5) ? [cash, bank] : [bank, cash]
  const key = (): string => String(random.between(1, balanceRows(mix)))
  return { kind: 'transfer', from, to, keys: [key(), key()], amount: random.between(1, 50) }
}

export function balanceRows({ keys }: Pick<Mix, 'keys'>): number {
  return Math.min(keys, 10)
}

function insert(random: Random, mix: Mix, table: TableSpec): Step {
  return { kind: 'insert', table, texts: rowOf(random, mix, table) }
}

/** Some columns get new values, the others stay: so out-of-line values are left out of the stream. */
function update(random: Random, mix: Mix, table: TableSpec): Step {
  const set: Record<number, string | null> = {}
  const free = table.columns.map((_, at) => at).filter(at => !table.key.includes(at))
  const chosen = random.sample(free, random.between(1, free.length))
  for (const at of chosen)
    if (!table.columns[at]!.external || random.chance(0.3)) set[at] = textOf(random, mix, table, at)
  return { kind: 'update', table, key: someKey(random, mix, table), set }
}

function rekey(random: Random, mix: Mix, table: TableSpec): Step {
  const at = random.pick(table.key)
  return {
    kind: 'update',
    table,
    key: someKey(random, mix, table),
    set: { [at]: keyText(random, mix, table, at) },
  }
}

export function rowOf(random: Random, mix: Mix, table: TableSpec): Texts {
  return table.columns.map((_, at) =>
    table.key.includes(at) ? keyText(random, mix, table, at) : textOf(random, mix, table, at),
  )
}

function someKey(random: Random, mix: Mix, table: TableSpec): string {
  return keyOf(
    table,
    table.columns.map((_, at) => (table.key.includes(at) ? keyText(random, mix, table, at) : null)),
  )
}

function keyText(random: Random, { keys }: Mix, { columns, key }: TableSpec, at: number): string {
  // Of a key of two parts, each has few values.
  const count = key.length > 1 ? Math.ceil(Math.sqrt(keys)) : keys
  const number = random.between(1, count)
  return columns[at]!.type === 'text' ? `k${number}` : String(number)
}

const ODD_TEXTS = [
  '',
  'tab\tand\nline',
  'back\\slash',
  '"quoted"',
  'Größe',
  '漢字',
  '{"a":1}',
  '\\N',
  'null',
  '🙂',
]

function textOf(random: Random, { features }: Mix, { columns }: TableSpec, at: number): string | null {
  const { type, external, notNull } = columns[at]!
  if (!notNull && random.chance(0.08)) return null
  switch (type) {
    case 'int4':
      return String(random.uint32() | 0)
    case 'int8':
      return String(BigInt.asIntN(64, (BigInt(random.uint32()) << 32n) | BigInt(random.uint32())))
    case 'bool':
      return random.chance(0.5) ? 't' : 'f'
    case 'text':
      if (external && features.has('toast') && random.chance(0.8))
        return `${random.uint32().toString(36)} ${'x'.repeat(EXTERNAL_LENGTH + random.below(100))}`
      if (features.has('escaped texts') && random.chance(0.2)) return random.pick(ODD_TEXTS)
      return random.uint32().toString(36)
  }
}

/** Keys of rows that nobody else writes. */
const ESSENTIAL_KEY = 70_001
/** Updates of one transaction that only makes a history longer. */
const PADDING_MAX = 20

/**
 * On keys of its own: a row with an out-of-line value that is updated, moved and left alone, and a TRUNCATE; then `frames` more changes. What
 * has been lost on the way is done once more, in another round, on other keys.
 */
export function essentials(random: Random, mix: Mix, round: number, frames = 0): ScriptTransaction[] {
  const table = accounts
  const at = table.columns.findIndex(({ external }) => external)
  const base: (string | null)[] = [...rowOf(random, mix, table)]
  base[at] = `essential ${'y'.repeat(EXTERNAL_LENGTH)}`
  const keyed = (number: number): (string | null)[] =>
    base.map((text, column) => (table.key.includes(column) ? String(number) : text))
  const other = table.columns.findIndex((column, i) => !table.key.includes(i) && !column.external)
  const [one, two] = [keyed(ESSENTIAL_KEY + 2 * round), keyed(ESSENTIAL_KEY + 2 * round + 1)]
  const rekeyed = Object.fromEntries(table.key.map(column => [column, two[column]!]))
  const touch = (row: Texts, text: string | null): Step => ({
    kind: 'update',
    table,
    key: keyOf(table, row),
    set: { [other]: text },
  })
  const truncates = mix.features.has('truncate')
  const steps: Step[][] = [
    [{ kind: 'insert', table, texts: one }],
    [touch(one, null)],
    [{ kind: 'update', table, key: keyOf(table, one), set: rekeyed }],
    ...(truncates
      ? [
          [
            { kind: 'truncate' as const, table },
            { kind: 'insert' as const, table, texts: two },
          ],
        ]
      : []),
  ]
  for (let left = frames; left > 0; left -= PADDING_MAX)
    steps.push(
      Array.from({ length: Math.min(left, PADDING_MAX) }, (_, i) => touch(two, `padding ${left - i}`)),
    )
  return steps.map(each => ({
    afterMs: random.below(mix.pauseMs),
    steps: each,
    end: 'commit',
    isSynchronous: true,
    stepMs: 0.1,
    limboMs: 0,
  }))
}

/** Which tables a run has: always a whole one, and those with the balance together. */
export function tablesFor(random: Random): TableSpec[] {
  const chosen = [accounts]
  if (random.chance(0.7)) chosen.push(lines)
  if (random.chance(0.7)) chosen.push(cash, bank)
  if (random.chance(0.6)) chosen.push(items)
  if (random.chance(0.4)) chosen.push(events)
  return chosen
}
