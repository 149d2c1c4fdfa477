import { NotReadyError } from '../errors.js'
import type { FreshnessGates } from '../freshness/gates.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { ReadContext } from '../query/answer.js'
import type { LiveTable } from '../query/live.js'
import { CacheTable } from '../query/table.js'
import type { TableDeclaration } from '../query/types.js'
import { Store } from '../store/store.js'
import type { AuditLedger } from './audits.js'
import { ownBounds } from './bounds.js'
import type { Followers } from './followers.js'
import type { TableHealth } from './health.js'
import { liveTable } from './live-table.js'
import type { OnlineIndexes } from './online-indexes.js'
import type { ResolvedOptions } from './options.js'
import { notAnEntity } from './snapshots.js'
import { tableHealth } from './table-health.js'

/** One declared table: what its readers hold on to while generations come and go. */
interface Entry {
  /** Its number in the feed. */
  readonly number: number
  readonly facade: CacheTable<object>
}

export interface DeclaredTablesHost {
  readonly options: ResolvedOptions
  readonly gates: FreshnessGates
  readonly followers: Followers
  readonly audits: AuditLedger
  readonly indexes: OnlineIndexes
  /** What the cache's tables share. Called when there are tables. */
  readonly reads: () => ReadContext
}

/** The cache's tables, by declaration. */
export class DeclaredTables {
  readonly #host: DeclaredTablesHost
  readonly #entries = new Map<object, Entry>()

  constructor(host: DeclaredTablesHost) {
    this.#host = host
  }

  has(declaration: object): boolean {
    return this.#entries.has(declaration)
  }

  get declarations(): object[] {
    return [...this.#entries.keys()]
  }

  /** Tables that can't be read yet, so that handles on them exist from the beginning. */
  declare(mappings: readonly TableMapping[]): void {
    const empty = new Store({ limitBytes: 0, tableLimitBytes: 0, hashSeed: 0 })
    for (const mapping of mappings) this.add(liveTable(empty, mapping))
    empty.fail(new NotReadyError())
  }

  add(live: LiveTable): void {
    const { mapping } = live
    const { options, gates, followers, indexes, reads } = this.#host
    const number = this.#entries.size
    const context = reads()
    const bounds = ownBounds(mapping, options)
    const own = bounds === null ? context : { ...context, ...bounds, gate: gates.own(mapping.name, bounds) }
    const facade: CacheTable<object> = new CacheTable<object>(live, own, {
      changes: query => followers.changes(number, facade.live, query),
      watch: (query, signal) => followers.watch(number, facade.live, query, signal),
      createIndex: (properties, index) => indexes.create(facade, properties, index),
    })
    this.#entries.set(mapping.declaration, { number, facade })
  }

  /** @throws {OptionError} if it is none of them. */
  facade<Row extends object>(declaration: TableDeclaration<Row>): CacheTable<Row> {
    const entry = this.#entries.get(declaration)
    if (entry === undefined) throw notAnEntity()
    return entry.facade as unknown as CacheTable<Row>
  }

  /** Its declaration's table is this one from now on. Returns the number that it has in the feed; null if it is none of them. */
  follow(live: LiveTable): number | null {
    const entry = this.#entries.get(live.mapping.declaration)
    if (entry === undefined) return null
    entry.facade.follow(live)
    this.#host.indexes.followed(entry.facade)
    return entry.number
  }

  /** The table with this number in the feed. */
  byNumber(): (number: number) => LiveTable {
    const facades = new Map([...this.#entries.values()].map(({ number, facade }) => [number, facade]))
    return number => facades.get(number)!.live
  }

  /** Every read of any of them gets this error from now on. */
  fail(error: Parameters<Store['fail']>[0]): void {
    for (const { facade } of this.#entries.values()) facade.live.store.fail(error)
  }

  health(): TableHealth[] {
    return [...this.#entries.values()].map(({ facade }) =>
      tableHealth(facade.live, this.#host.audits.countsOf(facade.live.mapping)),
    )
  }
}

/** Whether rows of both can be compared one by one, to tell what has become of them. */
export function areComparable(old: LiveTable, next: LiveTable): boolean {
  return isWhole(old) && isWhole(next) && shapeOf(old) === shapeOf(next)
}

/** What a bounded table does not hold says nothing. */
function isWhole({ table }: LiveTable): boolean {
  return table.residency === null
}

/** The columns that rows take, their types, and their order. */
function shapeOf({ mapping: { columns, key } }: LiveTable): string {
  return JSON.stringify([
    columns.map(({ property, column, typeOid, typeModifier }) => [property, column, typeOid, typeModifier]),
    key,
  ])
}
