import type { Scheduler } from './scheduler.js'
import type { Coverage } from './coverage.js'
import { keyOf, type TableSpec, type Texts } from './schema.js'
import type { ScriptTransaction, Step, WriterScript } from './script.js'
import type { Position } from './server/log.js'
import type { PostgresModel } from './server/model.js'
import type { Transaction } from './server/transaction.js'
import { type Outcome, WriterSession } from './server/writes.js'

/** How often who waits for a lock tries again, and how often before it is taken for a deadlock. */
const LOCK_RETRY_MS = 4
const LOCK_RETRIES_MAX = 60
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

  #step(transaction: ScriptTransaction, at: number, retries: number): void {
    const step = transaction.steps[at]
    if (step === undefined) {
      this.#end(transaction)
      return
    }
    if (this.#perform(step) === 'blocked') {
      if (retries < LOCK_RETRIES_MAX)
        this.#later(LOCK_RETRY_MS, () => this.#step(transaction, at, retries + 1))
      else this.#giveUp()
      return
    }
    if (transaction.stepMs === 0) this.#step(transaction, at + 1, 0)
    else this.#later(transaction.stepMs, () => this.#step(transaction, at + 1, 0))
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
        return 'done'
      case 'release':
        session.releaseSavepoint()
        return 'done'
      case 'message':
        session.message('another application')
        return 'done'
      case 'empty':
        session.assignXid()
        return 'done'
    }
  }

  #counted(kind: string, table: TableSpec, outcome: Outcome): Outcome {
    if (outcome === 'done') this.#context.coverage.operation(`${kind} ${table.name}`)
    return outcome
  }

  #update(table: TableSpec, key: string, set: Readonly<Record<number, string | null>>): Outcome {
    const change = (texts: Texts): Texts =>
      texts.map((text, at) => (Object.hasOwn(set, at) ? set[at]! : text))
    const isRekey = table.key.some(at => Object.hasOwn(set, at))
    return this.#counted(isRekey ? 'rekey' : 'update', table, this.#session.update(table, key, change))
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
    return this.#counted('swap', table, 'done')
  }

  #transfer({ from, to, keys, amount }: Extract<Step, { kind: 'transfer' }>): Outcome {
    this.#session.savepoint()
    const add =
      (table: TableSpec, by: number) =>
      (texts: Texts): Texts =>
        texts.map((text, at) => (at === table.balance ? String(Number(text) + by) : text))
    const took = this.#session.update(from, keys[0], add(from, -amount))
    const gave = took === 'done' ? this.#session.update(to, keys[1], add(to, amount)) : took
    if (gave === 'done') {
      this.#session.releaseSavepoint()
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
    this.#context.coverage.operation('prepare -')
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
    const { model, scheduler, coverage, onAcknowledged, standbyMissing } = this.#context
    const { end } = model.commit(transaction)
    const { timeline, startedAt } = model
    coverage.transactions++
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

function withKey(table: TableSpec, texts: Texts, key: string): Texts {
  const parts = key.split('\u001f')
  return texts.map((text, at) => (table.key.includes(at) ? parts[table.key.indexOf(at)]! : text))
}
