import type { Scheduler } from './scheduler.js'
import type { Coverage } from './coverage.js'
import type { Operation } from './pairs.js'
import { keyOf, TABLES, type TableSpec, type Texts } from './schema.js'
import type { ScriptTransaction, Step, WriterScript } from './script.js'
import { isExternal } from './server/heap.js'
import type { Position } from './server/log.js'
import type { PostgresModel } from './server/model.js'
import type { Transaction } from './server/transaction.js'
import { type Outcome, WriterSession } from './server/writes.js'

/** How often who waits for a lock tries again, and how often before it is taken for a deadlock. */
const LOCK_RETRY_MS = 4
const LOCK_RETRIES_MAX = 60
/** From so many changes on a transaction counts as giant. */
const GIANT_CHANGES = 100
/** Until a prepared transaction is finished. */
const PREPARED_MS = 15

/** A commit that its writer was told of. */
export interface Acknowledged {
  readonly end: Position
  readonly atMs: number
  readonly timeline: number
}

export interface WriterContext {
  readonly scheduler: Scheduler
  readonly model: PostgresModel
  readonly coverage: Coverage
  /** Whether the server takes statements now. */
  readonly isUp: () => boolean
  /** While a synchronous standby is missing, commits stay in limbo. */
  readonly standbyMissing: () => boolean
  readonly onAcknowledged: (commit: Acknowledged) => void
  /** A commit record was written. */
  readonly onCommitted: (transaction: Transaction) => void
}

/** Does what a script says, in virtual time. What a crash has broken off is not begun again. */
export class Writer {
  readonly #context: WriterContext
  readonly #script: WriterScript
  #session: WriterSession
  /** Counts up when the server crashes: whatever was under way then is over. */
  #life = 0
  #next = 0
  isDone = false

  constructor(context: WriterContext, script: WriterScript) {
    this.#context = context
    this.#script = script
    this.#session = new WriterSession(context.model)
    this.#begin()
  }

  /** The server has crashed under it. */
  crashed(): void {
    this.#life++
    this.#session = new WriterSession(this.#context.model)
    if (!this.isDone) this.#begin()
  }

  #begin(): void {
    const transaction = this.#script[this.#next++]
    if (transaction === undefined) {
      this.isDone = true
      return
    }
    this.#later(transaction.afterMs, () => this.#step(transaction, 0, 0))
  }

  #later(delayMs: number, run: () => void): void {
    const life = this.#life
    this.#context.scheduler.after(delayMs, () => {
      if (life !== this.#life) return
      if (this.#context.isUp()) run()
      else this.#later(LOCK_RETRY_MS, run)
    })
  }

  #step(transaction: ScriptTransaction, from: number, retries: number): void {
    for (let at = from; at < transaction.steps.length; at++) {
      if (this.#perform(transaction.steps[at]!) === 'blocked') {
        const tries = at === from ? retries : 0
        if (tries < LOCK_RETRIES_MAX) this.#later(LOCK_RETRY_MS, () => this.#step(transaction, at, tries + 1))
        else this.#giveUp()
        return
      }
      if (transaction.stepMs > 0) {
        this.#later(transaction.stepMs, () => this.#step(transaction, at + 1, 0))
        return
      }
    }
    this.#end(transaction)
  }

  #giveUp(): void {
    const transaction = this.#session.release()
    if (transaction !== null) this.#context.model.rollBack(transaction)
    this.#begin()
  }

  #perform(step: Step): Outcome {
    const session = this.#session
    switch (step.kind) {
      case 'insert':
        return this.#counted('insert', step.table, session.insert(step.table, step.texts))
      case 'update':
        return this.#update(step.table, step.key, step.set)
      case 'delete':
        return this.#counted('delete', step.table, session.delete(step.table, step.key))
      case 'truncate':
        return this.#counted('truncate', step.table, session.truncate(step.table))
      case 'swap':
        return this.#swap(step.table, step.keys)
      case 'transfer':
        return this.#transfer(step)
      case 'savepoint':
        session.savepoint()
        return 'done'
      case 'rollback to':
        session.rollbackToSavepoint()
        this.#expose('rollback to a savepoint', session.transaction)
        return 'done'
      case 'release':
        session.releaseSavepoint()
        return 'done'
      case 'message':
        session.message('another application')
        this.#context.coverage.expose('logical message', null, session.transaction!)
        return 'done'
      case 'empty':
        session.assignXid()
        return 'done'
    }
  }

  #counted(operation: Operation, table: TableSpec, outcome: Outcome): Outcome {
    if (outcome === 'done') this.#context.coverage.operation(operation, table, this.#session.transaction!)
    return outcome
  }

  /** A transaction has something that concerns all its tables. */
  #expose(operation: Operation, transaction: Transaction | null): void {
    if (transaction === null) return
    const { coverage } = this.#context
    if (transaction.written.size === 0) coverage.expose(operation, null, transaction)
    for (const oid of transaction.written)
      coverage.expose(operation, TABLES.find(spec => spec.oid === oid)!, transaction)
  }

  #update(table: TableSpec, key: string, set: Readonly<Record<number, string | null>>): Outcome {
    let isBesideExternal = false
    const isRekey = table.key.some(at => Object.hasOwn(set, at))
    const outcome = this.#session.update(table, key, texts =>
      texts.map((text, at) => {
        if (Object.hasOwn(set, at)) return set[at]!
        if (isExternal(table, at, text)) isBesideExternal = true
        return text
      }),
    )
    if (outcome === 'done' && isBesideExternal)
      this.#context.coverage.expose('update beside an out-of-line value', table, this.#session.transaction!)
    return this.#counted(isRekey ? 'key change' : 'update', table, outcome)
  }

  /** All of it, or nothing of it that lasts. */
  #swap(table: TableSpec, [one, other]: readonly [string, string]): Outcome {
    if (one === other) return 'nothing'
    const between = keyOf(
      table,
      table.columns.map(({ type }) => (type === 'text' ? 'between' : '-7')),
    )
    const moves = [
      [one, between],
      [other, one],
      [between, other],
    ] as const
    this.#session.savepoint()
    for (const [from, to] of moves) {
      const outcome = this.#session.update(table, from, texts => withKey(table, texts, to))
      if (outcome === 'done') continue
      this.#session.rollbackToSavepoint()
      return outcome
    }
    this.#session.releaseSavepoint()
    return this.#counted('swap of keys', table, 'done')
  }

  #transfer({ from, to, keys, amount }: Extract<Step, { kind: 'transfer' }>): Outcome {
    this.#session.savepoint()
    const took = this.#session.update(from, keys[0], added(from, -amount))
    const gave = took === 'done' ? this.#session.update(to, keys[1], added(to, amount)) : took
    if (gave === 'done') {
      this.#session.releaseSavepoint()
      this.#counted('transfer', to, 'done')
      return this.#counted('transfer', from, 'done')
    }
    this.#session.rollbackToSavepoint()
    return gave
  }

  #end(script: ScriptTransaction): void {
    const transaction = this.#session.release()
    if (transaction === null) {
      this.#begin()
      return
    }
    const { model } = this.#context
    if (script.end === 'rollback') {
      model.rollBack(transaction)
      this.#begin()
    } else if (script.end === 'commit') this.#commit(transaction, script)
    else this.#prepare(transaction, script)
  }

  #prepare(transaction: Transaction, script: ScriptTransaction): void {
    const { model, scheduler, isUp } = this.#context
    transaction.isPrepared = true
    model.log.write(64)
    model.flush()
    this.#expose('two-phase commit', transaction)
    // It belongs to nobody from now on, and survives a crash of the server.
    const finish = (): void => {
      if (!isUp()) scheduler.after(LOCK_RETRY_MS, finish)
      else if (!model.has(transaction)) return
      else if (script.end === 'prepare and rollback') model.rollBack(transaction)
      else this.#record(transaction, script)
    }
    scheduler.after(PREPARED_MS, finish)
    this.#begin()
  }

  #commit(transaction: Transaction, script: ScriptTransaction): void {
    this.#record(transaction, script)
    this.#begin()
  }

  /** Record, disk, limbo, everybody; and then its writer is told. */
  #record(transaction: Transaction, { isSynchronous, limboMs }: ScriptTransaction): void {
    const { model, scheduler, coverage, onAcknowledged, onCommitted, standbyMissing } = this.#context
    const { end } = model.commit(transaction)
    const { timeline, startedAt } = model
    coverage.transactions++
    if (!isSynchronous) this.#expose('asynchronous commit', transaction)
    if (transaction.changes.length === 0) this.#expose('empty transaction', transaction)
    if (transaction.changes.length >= GIANT_CHANGES) this.#expose('giant transaction', transaction)
    onCommitted(transaction)
    const show = (): void => {
      // A crash has shown it to everybody, or lost it.
      if (model.startedAt !== startedAt || !model.has(transaction)) return
      if (isSynchronous && standbyMissing()) {
        scheduler.after(LOCK_RETRY_MS, show)
        return
      }
      model.makeVisible(transaction)
      onAcknowledged({ end, atMs: scheduler.nowMs, timeline })
    }
    if (isSynchronous) model.flush(end)
    if (limboMs === 0) show()
    else scheduler.after(isSynchronous ? limboMs : 0, show)
  }
}

/** Adds to the balance. */
function added(table: TableSpec, by: number): (texts: Texts) => Texts {
  return texts => texts.map((text, at) => (at === table.balance ? String(Number(text) + by) : text))
}

function withKey(table: TableSpec, texts: Texts, key: string): Texts {
  const parts = key.split('\u001f')
  return texts.map((text, at) => (table.key.includes(at) ? parts[table.key.indexOf(at)]! : text))
}
