import {
  type ChangeBatch,
  type ChangeSink,
  MAX_COLUMNS,
  NOT_SENT,
  NULL,
  TEXT,
  TupleView,
  UNCHANGED,
} from '../change/change.js'
import { LSN_ZERO, type Lsn } from '../change/lsn.js'
import type { Relation } from '../change/relation.js'
import { assert } from '../errors.js'
import type { FreshSource } from './source.js'

/** A value's text, null, or why it is not in the stream. */
export type ScriptValue = string | null | typeof UNCHANGED | typeof NOT_SENT
/** Values by column; a column that is left out was not sent. */
export type ScriptRow = Readonly<Record<string, ScriptValue>>

export type ScriptChange =
  | { readonly kind: 'insert'; readonly relation: Relation; readonly row: ScriptRow }
  | {
      readonly kind: 'update'
      readonly relation: Relation
      /** Null if the key did not change and was not sent. */
      readonly old: ScriptRow | null
      readonly row: ScriptRow
    }
  | { readonly kind: 'delete'; readonly relation: Relation; readonly old: ScriptRow }
  | { readonly kind: 'truncate'; readonly relations: readonly Relation[] }
  | { readonly kind: 'message'; readonly prefix: string; readonly content: string }

export interface ScriptTransaction {
  readonly changes: readonly ScriptChange[]
  /** By default one more than the transaction before has. */
  readonly xid?: number
  /** Where its commit ends; by default `LSN_STEP` after the one before. */
  readonly endLsn?: Lsn
}

const LSN_STEP = 0x100n

/** Transactions from an array, as a source: for tests of all that stands above one. More can be added while it runs. */
export class ScriptSource<B> implements FreshSource<B> {
  readonly start: FreshSource<B>['start']
  /** What was confirmed last. */
  confirmed: Lsn
  #waiting: ScriptStep[] = []
  #lsn: Lsn
  #xid = 700
  #isClosed = false
  #wake: (() => void) | undefined
  readonly #announced = new Map<number, Announced<B>>()

  constructor(transactions: readonly ScriptTransaction[] = [], start: Lsn = LSN_ZERO) {
    this.start = { lsn: start, snapshotName: 'script', systemId: '1', timeline: 1 }
    this.confirmed = start
    this.#lsn = start
    for (const transaction of transactions) this.commit(transaction)
  }

  /** Where the newest commit ends. */
  get lsn(): Lsn {
    return this.#lsn
  }

  /** Adds a transaction to the stream; returns where its commit ends. */
  commit({ changes, xid = this.#xid + 1, endLsn }: ScriptTransaction): Lsn {
    const commitLsn = this.#lsn
    this.#xid = xid
    this.#lsn = endLsn ?? ((commitLsn + LSN_STEP) as Lsn)
    const end = this.#lsn
    this.#push(
      { kind: 'begin', xid, commitLsn },
      ...changes.map(change => ({ kind: 'change' as const, change })),
      { kind: 'commit', endLsn: end },
    )
    return end
  }

  /** Adds what a keepalive proves: everything before `lsn` has been sent. */
  progress(lsn: Lsn): void {
    this.#lsn = lsn
    this.#push({ kind: 'progress', lsn })
  }

  /** Makes the stream fail, after what was added before. */
  fail(error: Error): void {
    this.#push({ kind: 'fail', error })
  }

  async *batches(signal: AbortSignal): AsyncIterable<ChangeBatch<B>> {
    const onAbort = () => this.#wakeReader()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        signal.throwIfAborted()
        if (this.#isClosed) return
        const [next] = this.#waiting
        if (next?.kind === 'fail') throw next.error
        if (next !== undefined) yield { deliver: (sink, maxChanges) => this.#deliver(sink, maxChanges) }
        else await this.#arrival()
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  confirm(lsn: Lsn): void {
    assert(lsn <= this.#lsn, 'what is confirmed was sent before')
    if (lsn > this.confirmed) this.confirmed = lsn
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#waiting = []
    this.#wakeReader()
  }

  #push(...steps: ScriptStep[]): void {
    this.#waiting.push(...steps)
    this.#wakeReader()
  }

  #arrival(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  #wakeReader(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  #deliver(sink: ChangeSink<B>, maxChanges: number): boolean {
    for (let count = 0; count < maxChanges && sink.held !== true; count++) {
      const [step] = this.#waiting
      if (step === undefined || step.kind === 'fail') return false
      this.#waiting.shift()
      this.#tell(sink, step)
    }
    return this.#waiting.length > 0
  }

  #tell(sink: ChangeSink<B>, step: Exclude<ScriptStep, { kind: 'fail' }>): void {
    switch (step.kind) {
      case 'begin':
        return sink.begin(step.xid, step.commitLsn)
      case 'change':
        return this.#change(sink, step.change)
      case 'commit':
        return sink.commit(step.endLsn, 0)
      case 'progress':
        return sink.progress(step.lsn)
    }
  }

  #change(sink: ChangeSink<B>, change: ScriptChange): void {
    if (change.kind === 'message') return sink.message(change.prefix, Buffer.from(change.content), true)
    if (change.kind === 'truncate') {
      const tables = change.relations
        .map(relation => this.#table(sink, relation))
        .filter(table => table !== null)
      if (tables.length > 0) sink.truncate(tables, false, false)
      return
    }
    const { relation } = change
    const table = this.#table(sink, relation)
    if (table === null) return
    const isFull = relation.replicaIdentity === 'full'
    if (change.kind === 'insert') sink.insert(table, tupleOf(relation, change.row))
    else if (change.kind === 'delete') sink.delete(table, tupleOf(relation, change.old), isFull)
    else {
      const old = change.old === null ? null : tupleOf(relation, change.old)
      sink.update(table, old, old !== null && isFull, tupleOf(relation, change.row))
    }
  }

  /** Announces a relation before its first change, and again when it is another object: a new shape. */
  #table(sink: ChangeSink<B>, relation: Relation): B | null {
    const known = this.#announced.get(relation.oid)
    if (known?.relation === relation) return known.table
    const table = sink.relation(relation)
    this.#announced.set(relation.oid, { relation, table })
    return table
  }
}

type ScriptStep =
  | { readonly kind: 'begin'; readonly xid: number; readonly commitLsn: Lsn }
  | { readonly kind: 'change'; readonly change: ScriptChange }
  | { readonly kind: 'commit'; readonly endLsn: Lsn }
  | { readonly kind: 'progress'; readonly lsn: Lsn }
  | { readonly kind: 'fail'; readonly error: Error }

interface Announced<B> {
  readonly relation: Relation
  readonly table: B | null
}

function tupleOf(relation: Relation, row: ScriptRow): TupleView {
  const { columns } = relation
  assert(columns.length <= MAX_COLUMNS, 'a relation has at most 1,600 columns')
  const unknown = Object.keys(row).find(name => !columns.some(column => column.name === name))
  assert(unknown === undefined, `${relation.name} has a column ${unknown}`)
  const view = new TupleView()
  const texts: Buffer[] = []
  let at = 0
  view.count = columns.length
  columns.forEach(({ name }, column) => {
    const value = row[name] === undefined ? NOT_SENT : row[name]
    if (typeof value !== 'string') {
      view.kinds[column] = value ?? NULL
      return
    }
    const text = Buffer.from(value)
    texts.push(text)
    view.kinds[column] = TEXT
    view.starts[column] = at
    at += text.length
    view.ends[column] = at
  })
  view.bytes = Buffer.concat(texts)
  return view
}
