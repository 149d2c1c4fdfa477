import type { Applier } from '../apply/applier.js'
import type { AppliedTable } from '../apply/binding.js'
import { ThinnedError } from '../apply/truncated.js'
import {
  asError,
  assert,
  type CacheError,
  DivergedError,
  TableChangedError,
  TableReloadingError,
} from '../errors.js'
import { type Fingerprint, samePublication } from '../freshness/fingerprint.js'
import type { ProbeAnswer } from '../freshness/probe.js'
import type { TableMapping } from '../mapping/mapping.js'
import { relationOids } from '../mapping/relations.js'
import type { LiveTable } from '../query/live.js'
import { pause } from '../runtime.js'
import type { Store } from '../store/store.js'
import type { GrowingSetup } from './setup.js'
import { OutdatedReadError, type ReloadContext, type Reread, TableReloads } from './table-reloads.js'

/** Between two questions to a server that does not show a transaction to queries yet, though it has sent it. */
const LOOK_AGAIN_MS = 5
/** How long that may take before the tables it concerns are closed. */
const LIMBO_MS = 1_000

/** A table that is being added. */
interface Added {
  readonly mapping: TableMapping
  /** It is becoming part of the store, which can't be called off. */
  isOpening: boolean
  readonly settle: (error: Error | null) => void
}

export interface TableWatchOptions extends ReloadContext {
  /** Tables that are added join its mappings. */
  readonly setup: GrowingSetup
  /** Has the decoder ask once more about a relation. */
  readonly want: (oid: number) => void
  readonly store: Store
  readonly tables: readonly (LiveTable & AppliedTable)[]
  readonly applier: () => Applier
  /** A mapped table in the store; not yet part of it. */
  readonly makeTable: (mapping: TableMapping) => LiveTable & AppliedTable
  /** A table that can't be read. */
  readonly closedTable: (mapping: TableMapping, error: CacheError) => LiveTable & AppliedTable
  /** Asks the server, and judges its answer; null if there is none this time. Rejects if the stream is to end. */
  readonly look: (signal: AbortSignal) => Promise<ProbeAnswer | null>
  /** Resolves when the position is visible. */
  readonly reached: (position: Reread['reached'], signal: AbortSignal) => Promise<void>
  /** Has the server send something. */
  readonly nudge: (signal: AbortSignal) => void
  /** This is the table from now on. */
  readonly onTable: (live: LiveTable) => void
}

/**
 * Watches over the shapes of a generation's tables: one that was changed in a way that the stream does not tell is closed, read anew beside the
 * stream, and opened again, while the others go on. With a decoder that does not announce relations, such a change ends the generation.
 */
export class TableWatch {
  readonly #options: TableWatchOptions
  readonly #reloads: TableReloads
  readonly #mends: boolean
  #tables: readonly LiveTable[]
  /** What each table looked like when it was read, by its OID, and from when on answers may be compared with that. */
  readonly #expected = new Map<
    number,
    { readonly hash: string | null | undefined; readonly sinceMs: number }
  >()
  /** OIDs of the tables that are closed. */
  readonly #closed = new Set<number>()
  /** Those of them that may look different since they were read, and the transaction that says so. */
  readonly #unsure = new Map<number, number>()
  /** Opens what was read anew; called at the end of a transaction. */
  #atBoundary: (() => void) | null = null
  /** Whether nothing is being applied. */
  #isIdle = true
  /** A table that was read anew is becoming part of the store. */
  #opening: Promise<void> | null = null
  #until: AbortSignal = AbortSignal.abort()
  /** Tables that are being added, by their OIDs. */
  readonly #added = new Map<number, Added>()
  /**
   * The newest transaction that an answer saw. Whoever altered a table that it writes was waited for, and was visible by then, so that answer tells of
   * all alterations that its changes go by.
   */
  #seenXid: number | null = null

  constructor(options: TableWatchOptions) {
    this.#options = options
    const { setup } = options
    this.#mends = options.options.decoder === 'pgoutput'
    for (const { oid } of setup.mappings)
      this.#expected.set(oid, { hash: setup.fingerprint[oid], sinceMs: Number.NEGATIVE_INFINITY })
    this.#tables = [
      ...options.tables,
      ...setup.out.map(({ mapping, error }) => options.closedTable(mapping, error)),
    ]
    this.#reloads = new TableReloads(options, {
      isAdded: ({ oid }) => this.#added.has(oid),
      isWatched: ({ oid }) => this.#expected.has(oid),
      begin: mapping => this.#setAside(mapping),
      makeTable: options.makeTable,
      visible: () => options.store.visible,
      adopt: (mapping, reread, signal) => this.#adopt(mapping, reread, signal),
      putOut: (mapping, error) => {
        if (this.#added.has(mapping.oid)) {
          this.#drop(mapping.oid, error)
          return
        }
        if (!(error instanceof TableChangedError)) options.applier().forget(mapping.oid)
        this.#replace(mapping, options.closedTable(mapping, error))
      },
    })
    for (const { mapping, error } of setup.out)
      if (error instanceof TableChangedError) this.#reloads.request(mapping)
  }

  /** In the order of their declarations, but for those that no longer fit. A new array each time one is replaced. */
  get tables(): readonly LiveTable[] {
    return this.#tables
  }

  /** Reads anew what has to be, until `signal` aborts. Rejects with what takes the whole generation's being loaded anew. */
  async run(signal: AbortSignal): Promise<void> {
    this.#until = signal
    await this.#reloads.run(signal)
  }

  /**
   * Compares what the server says of the tables with what they looked like when they were read.
   *
   * @throws {DivergedError} if that concerns all of them.
   */
  check({ fingerprint, askedMs }: Pick<ProbeAnswer, 'fingerprint' | 'askedMs'>): void {
    const all = this.#tables.map(({ mapping }) => mapping.name).join(', ')
    if (!samePublication(fingerprint, this.#options.setup.fingerprint))
      throw new DivergedError(all, 'the publication was changed in a way that the stream does not tell.')
    for (const { mapping } of this.#tables) {
      if (!this.#isChanged(mapping, fingerprint, askedMs)) continue
      if (!this.#mends)
        throw new DivergedError(mapping.name, 'it was changed in a way that the stream does not tell.')
      this.changed(mapping.oid)
    }
  }

  #isChanged({ oid }: TableMapping, fingerprint: Fingerprint, askedMs: number): boolean {
    const expected = this.#expected.get(oid)
    if (expected === undefined || this.#closed.has(oid) || askedMs < expected.sinceMs) return false
    return fingerprint[oid] !== expected.hash
  }

  /** Why a stream that was cut off can't be gone on with, by what the tables look like now; null if that does not keep it from it. */
  obstacle(fingerprint: Fingerprint): string | null {
    if (!samePublication(fingerprint, this.#options.setup.fingerprint))
      return 'the publication was changed meanwhile'
    const changed = this.#tables.find(({ mapping }) =>
      this.#isChanged(mapping, fingerprint, Number.POSITIVE_INFINITY),
    )
    return changed === undefined || this.#mends ? null : `${changed.mapping.name} was changed meanwhile`
  }

  /** Whether memory has the tables as they look here; those that are given up do not matter. */
  isAsMapped(fingerprint: Fingerprint): boolean {
    const isMapped = ({ mapping, table }: LiveTable): boolean =>
      (table.failed !== null && !table.failed.transient) ||
      (!this.#closed.has(mapping.oid) && !this.#isChanged(mapping, fingerprint, Number.POSITIVE_INFINITY))
    return samePublication(fingerprint, this.#options.setup.fingerprint) && this.#tables.every(isMapped)
  }

  /** The table has another shape than it was read in, or has lost rows that can't be told: it is closed and read anew. */
  changed(oid: number, cause?: DivergedError): void {
    const live = this.#tables.find(({ mapping }) => mapping.oid === oid)
    if (live === undefined || this.#closed.has(oid)) return
    const why =
      cause instanceof ThinnedError
        ? 'had a partition truncated, and which of its rows those were is not known'
        : undefined
    this.#close(live, new TableReloadingError(live.mapping.name, why))
  }

  /** The table's rows were found to differ from PostgreSQL's: it is closed and read anew. @throws {DivergedError} if that takes everything's being loaded anew. */
  differs(target: AppliedTable): void {
    this.#readAnew(target, 'was found to differ from PostgreSQL in memory')
  }

  /** A row has come into the table's filter that is not to be had as its transaction left it. As `differs`. */
  lacksRow(target: AppliedTable): void {
    this.#readAnew(target, 'lacks a row that has come into its filter without its TOASTed values')
  }

  #readAnew({ mapping }: AppliedTable, why: string): void {
    const live = this.#tables.find(each => each.mapping.oid === mapping.oid)
    if (live === undefined || this.#closed.has(mapping.oid)) return
    if (!this.#mends) throw new DivergedError(mapping.name, `it ${why}.`)
    this.#close(live, new TableReloadingError(mapping.name, why))
  }

  #close({ mapping, table, filler }: LiveTable, error: TableReloadingError): void {
    const { oid } = mapping
    this.#closed.add(oid)
    this.#options.options.logger.warn(error.message)
    const closed = this.#options.closedTable(mapping, error)
    this.#options.applier().setAside(oid, closed)
    this.#replace(mapping, closed)
    filler?.drop(table)
    this.#options.store.remove(table, error)
    this.#reloads.request(mapping)
  }

  /**
   * The stream has announced relations of these tables in transaction `xid`, as it does before their first change, and again after they may have been
   * altered, or one that may be a new partition of theirs: the server is asked before any of the changes is applied. A transaction may be sent
   * before queries see it, DDL of its own included: then it is asked again; but once for a transaction, however many partitions that writes. Of tables
   * that are being read anew it is asked before they are opened.
   */
  async announced(xid: number, oids: readonly number[]): Promise<void> {
    const areClosed = (): boolean => oids.every(oid => this.#closed.has(oid))
    for (const oid of oids) if (this.#closed.has(oid)) this.#unsure.set(oid, xid)
    if (areClosed() || xid === this.#seenXid || (await this.#seen(xid, areClosed)) !== null) return
    for (const oid of oids) this.changed(oid)
  }

  /**
   * Transaction `xid` says that it has altered tables: the server is asked before its commit is visible here. If queries don't see it for long,
   * nobody does, and the next probe that does tells.
   */
  async told(xid: number): Promise<void> {
    await this.#seen(xid, () => false)
  }

  /** Asks the server, and has its answers judged, until queries see the transaction, or `isEnough`: the last answer; null if that takes too long. */
  async #seen(xid: number, isEnough: () => boolean): Promise<ProbeAnswer | null> {
    const { clock, timers } = this.#options.options.runtime
    const deadlineMs = clock.monotonicMs() + LIMBO_MS
    for (;;) {
      const answer = await this.#options.look(this.#until)
      const isSeen = answer?.snapshot.sees(answer.snapshot.widen(xid)) ?? false
      if (isSeen) this.#seenXid = xid
      if (answer !== null && (isSeen || isEnough())) return answer
      if (clock.monotonicMs() > deadlineMs) return null
      await pause(timers, LOOK_AGAIN_MS, this.#until)
      this.#until.throwIfAborted()
    }
  }

  /** @throws {OutdatedReadError} if the table is not what was read any more: relations were announced meanwhile, and the server is asked about that. */
  async #mustStillBe({ oid, name }: TableMapping, { fingerprint }: Reread): Promise<void> {
    for (let xid = this.#unsure.get(oid); xid !== undefined; xid = this.#unsure.get(oid)) {
      this.#unsure.delete(oid)
      const answer = await this.#seen(xid, () => false)
      if (answer?.fingerprint[oid] !== fingerprint[oid])
        throw new OutdatedReadError(name, 'it was altered while it was read.')
    }
  }

  /**
   * One more table, which was declared later: its changes are set aside from now on, and it is read beside the stream. Resolves when it can be read.
   *
   * @throws why it can't be. Rejects with the signal's reason when it aborts. Then nothing of it is left.
   */
  add(mapping: TableMapping, signal: AbortSignal): Promise<void> {
    const { oid } = mapping
    const { setup, applier, closedTable, want } = this.#options
    assert(!this.#expected.has(oid), 'a table is added once')
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#drop(oid, asError(signal.reason))
      const settle = (error: Error | null): void => {
        signal.removeEventListener('abort', onAbort)
        this.#added.delete(oid)
        if (error === null) resolve()
        else reject(error)
      }
      this.#added.set(oid, { mapping, isOpening: false, settle })
      setup.mappings.push(mapping)
      this.#expected.set(oid, { hash: undefined, sinceMs: Number.POSITIVE_INFINITY })
      this.#closed.add(oid)
      applier().add(closedTable(mapping, new TableReloadingError(mapping.name, 'is being added')))
      for (const relation of relationOids(mapping)) want(relation)
      this.#reloads.request(mapping)
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) onAbort()
    })
  }

  /** The table is not added after all. */
  #drop(oid: number, error: Error): void {
    const added = this.#added.get(oid)
    // What is becoming part of the store is so in a moment.
    if (added === undefined || added.isOpening) return
    const { mappings } = this.#options.setup
    mappings.splice(mappings.indexOf(added.mapping), 1)
    this.#expected.delete(oid)
    this.#closed.delete(oid)
    this.#reloads.withdraw(added.mapping)
    this.#options.applier().drop(oid)
    added.settle(error)
  }

  /** Runs what applies changes to the store. What was read anew becomes part of it before or after that, never in its middle. */
  async applying(apply: () => Promise<void>): Promise<void> {
    if (this.#opening !== null) await this.#opened()
    this.#isIdle = false
    try {
      await apply()
    } finally {
      this.#isIdle = true
    }
    if (this.#options.applier().isBetween) this.#atBoundary?.()
    if (this.#opening !== null) await this.#opened()
  }

  /** Its failure is told to whoever reads the table anew. */
  async #opened(): Promise<void> {
    await this.#opening?.catch(() => undefined)
  }

  #setAside(mapping: TableMapping): void {
    const { applier, closedTable, want } = this.#options
    const closed = closedTable(mapping, new TableReloadingError(mapping.name))
    for (const relation of applier().setAside(mapping.oid, closed)) want(relation)
    this.#unsure.delete(mapping.oid)
  }

  async #adopt(mapping: TableMapping, reread: Reread, signal: AbortSignal): Promise<void> {
    const { reached, nudge } = this.#options
    nudge(signal)
    await reached(reread.reached, signal)
    let isOpen = false
    const open = async (): Promise<void> => {
      if (this.#unsure.has(mapping.oid)) return
      isOpen = true
      this.#opening = this.#open(mapping, reread).finally(() => {
        this.#opening = null
      })
      await this.#opening
    }
    while (!isOpen) {
      await this.#mustStillBe(mapping, reread)
      if (this.#isIdle && this.#options.applier().isBetween) await open()
      else await this.#whenBetween(open, signal)
    }
  }

  /** Calls `open` between two transactions; what is applied next waits for what it opens. */
  #whenBetween(open: () => Promise<void>, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#atBoundary = null
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#atBoundary = () => {
        this.#atBoundary = null
        signal.removeEventListener('abort', onAbort)
        open().then(resolve, reject)
      }
      if (signal.aborted) onAbort()
    })
  }

  async #open({ oid }: TableMapping, { live, snapshot, fingerprint, readMs }: Reread): Promise<void> {
    const added = this.#added.get(oid)
    if (added !== undefined) added.isOpening = true
    try {
      await this.#options.applier().adopt(oid, live, snapshot)
    } finally {
      if (added !== undefined) added.isOpening = false
    }
    this.#expected.set(oid, { hash: fingerprint[oid], sinceMs: readMs })
    this.#closed.delete(oid)
    const { mappings } = this.#options.setup
    const place = mappings.findIndex(({ declaration }) => declaration === live.mapping.declaration)
    if (place >= 0) mappings[place] = live.mapping
    if (added !== undefined) this.#tables = [...this.#tables, live]
    this.#replace(live.mapping, live)
    added?.settle(null)
  }

  #replace({ oid }: TableMapping, live: LiveTable): void {
    this.#tables = this.#tables.map(each => (each.mapping.oid === oid ? live : each))
    this.#options.onTable(live)
  }
}
