import type { TableSpec, Texts } from '../schema.js'
import type { Heap, RowVersion } from './heap.js'
import type { PostgresModel } from './model.js'
import { type Change, Transaction } from './transaction.js'

/** What came of a statement: `nothing` if no row was there to write, or one was in the way; `blocked` if it has to wait for a lock. */
export type Outcome = 'done' | 'nothing' | 'blocked'

/** About how long a record is besides the row. */
const RECORD_BYTES = 56

/** One writer's session: at most one transaction at a time. */
export class WriterSession {
  readonly #server: PostgresModel
  /** The transaction, once it has written something. */
  transaction: Transaction | null = null

  constructor(server: PostgresModel) {
    this.#server = server
  }

  /** INSERT ... ON CONFLICT DO NOTHING. */
  insert(spec: TableSpec, texts: Texts): Outcome {
    const heap = this.#server.heap(spec)
    const key = heap.key(texts)
    if (this.#isLocked(heap, key)) return 'blocked'
    if (this.#current(heap, key) !== null) return 'nothing'
    const transaction = this.#writing(spec)
    this.#push(heap, key, texts)
    this.#log(transaction, { kind: 'insert', spec, old: null, new: texts, prefix: '' })
    return 'done'
  }

  /** UPDATE of one row by its key; a new key that somebody has is in the way. */
  update(spec: TableSpec, key: string, change: (texts: Texts) => Texts): Outcome {
    const heap = this.#server.heap(spec)
    if (this.#isLocked(heap, key)) return 'blocked'
    const found = this.#current(heap, key)
    if (found === null) return 'nothing'
    const texts = change(found.texts!)
    const newKey = heap.key(texts)
    if (newKey !== key) {
      if (this.#isLocked(heap, newKey)) return 'blocked'
      if (this.#current(heap, newKey) !== null) return 'nothing'
    }
    const transaction = this.#writing(spec)
    if (newKey !== key) this.#push(heap, key, null)
    this.#push(heap, newKey, texts)
    this.#log(transaction, { kind: 'update', spec, old: found.texts, new: texts, prefix: '' })
    return 'done'
  }

  delete(spec: TableSpec, key: string): Outcome {
    const heap = this.#server.heap(spec)
    if (this.#isLocked(heap, key)) return 'blocked'
    const found = this.#current(heap, key)
    if (found === null) return 'nothing'
    const transaction = this.#writing(spec)
    this.#push(heap, key, null)
    this.#log(transaction, { kind: 'delete', spec, old: found.texts, new: null, prefix: '' })
    return 'done'
  }

  /** It needs the table for itself: who writes or reads it is waited for. */
  truncate(spec: TableSpec): Outcome {
    if (this.#server.isUsed(spec, this.transaction)) return 'blocked'
    const heap = this.#server.heap(spec)
    const transaction = this.#writing(spec)
    transaction.exclusive.add(spec.oid)
    const { rows, file } = heap
    heap.rows = new Map()
    heap.file = this.#server.newFile()
    heap.files.push({ xid: transaction.xid, file: heap.file })
    transaction.undo.push(() => {
      heap.rows = rows
      heap.file = file
      heap.files.pop()
    })
    this.#log(transaction, { kind: 'truncate', spec, old: null, new: null, prefix: '' })
    return 'done'
  }

  /** pg_logical_emit_message(true, ...). */
  message(prefix: string): void {
    const transaction = this.#begun()
    this.#log(transaction, { kind: 'message', spec: null, old: null, new: null, prefix })
  }

  /** A transaction that gets an id and changes nothing that is published. */
  assignXid(): void {
    this.#begun()
  }

  /** LOCK TABLE: nobody else gets at it. */
  lock(spec: TableSpec): void {
    this.#begun().exclusive.add(spec.oid)
  }

  savepoint(): void {
    const transaction = this.#begun()
    transaction.savepoints.push({ changes: transaction.changes.length, undone: transaction.undo.length })
    transaction.rowXid = this.#server.newSubXid()
  }

  rollbackToSavepoint(): void {
    const { transaction } = this
    const savepoint = transaction?.savepoints.pop()
    if (transaction === null || savepoint === undefined) return
    takeBack(transaction, savepoint.undone)
    transaction.changes.length = savepoint.changes
    transaction.rowXid = this.#server.newSubXid()
  }

  releaseSavepoint(): void {
    this.transaction?.savepoints.pop()
  }

  /** The transaction is the server's from now on: committed, rolled back or prepared. */
  release(): Transaction | null {
    const { transaction } = this
    this.transaction = null
    return transaction
  }

  #begun(): Transaction {
    this.transaction ??= this.#server.begin()
    return this.transaction
  }

  #writing(spec: TableSpec): Transaction {
    const transaction = this.#begun()
    transaction.written.add(spec.oid)
    return transaction
  }

  /** Whether another transaction that is not over has this row, or the whole table. */
  #isLocked(heap: Heap, key: string): boolean {
    if (this.#server.isLockedAgainst(heap.spec, this.transaction)) return true
    const newest = heap.rows.get(key)
    return newest !== undefined && newest.xid !== this.transaction?.xid && this.#server.isRunning(newest.xid)
  }

  #current(heap: Heap, key: string): RowVersion | null {
    const newest = heap.rows.get(key)
    return newest === undefined || newest.texts === null ? null : newest
  }

  #push(heap: Heap, key: string, texts: Texts | null): void {
    const { xid, rowXid, undo } = this.transaction!
    const older = heap.rows.get(key) ?? null
    heap.rows.set(key, { xid, rowXid, texts, older })
    undo.push(() => {
      if (older === null) heap.rows.delete(key)
      else heap.rows.set(key, older)
    })
    this.#server.touched(heap, key, xid)
  }

  #log(transaction: Transaction, change: Omit<Change, 'at' | 'isPublished'>): void {
    const at = this.#server.log.write(RECORD_BYTES + sizeOf(change.old) + sizeOf(change.new))
    const isPublished = change.spec === null || this.#server.isPublished(change.spec.oid)
    transaction.changes.push({ ...change, at, isPublished })
  }
}

function sizeOf(texts: Texts | null): number {
  let size = 0
  if (texts !== null) for (const text of texts) if (text !== null) size += text.length
  return size
}

/** Undoes what was done since there was so much of it. */
export function takeBack(transaction: Transaction, undone: number): void {
  while (transaction.undo.length > undone) transaction.undo.pop()!()
}
