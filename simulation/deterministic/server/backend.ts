import type { TableSpec } from '../schema.js'
import type { Heap } from './heap.js'
import type { ScriptedServer } from './server.js'
import { INVALID_PARAMETER, ServerError } from './server-error.js'
import type { Snapshot } from './snapshot.js'

/** The server's side of a session. */
export class Backend {
  readonly pid: number
  readonly server: ScriptedServer
  lockTimeoutMs = 0
  /** Of the transaction that is open, if it is repeatable read; null before its first statement. */
  #snapshot: Snapshot | null = null
  #isInTransaction = false
  #exported: string | null = null
  isOver = false
  /** Its wait event's type; null while it is at work. */
  waits: 'Client' | 'Lock' | 'IO' | 'Activity' | null = 'Client'
  /** What makes the session end, from the server's side. */
  onTerminate: () => void = () => undefined

  constructor(server: ScriptedServer) {
    this.server = server
    this.pid = server.newPid()
    server.backends.add(this)
  }

  begin(): void {
    this.#isInTransaction = true
    this.#snapshot = null
  }

  end(): void {
    this.#isInTransaction = false
    this.#snapshot = null
    if (this.#exported !== null) this.server.exported.delete(this.#exported)
    this.#exported = null
    this.server.model.letGo(this)
  }

  /** What a statement sees: in a transaction, what its first statement saw. */
  get snapshot(): Snapshot {
    if (!this.#isInTransaction) return this.server.model.snapshot()
    if (this.#snapshot === null) {
      this.#snapshot = this.server.model.snapshot()
      this.server.model.hold(this, this.#snapshot)
    }
    return this.#snapshot
  }

  importSnapshot(name: string): void {
    const snapshot = this.server.exported.get(name)
    if (snapshot === undefined) throw new ServerError(INVALID_PARAMETER, `snapshot "${name}" does not exist`)
    this.#snapshot = snapshot
    this.server.model.hold(this, snapshot)
  }

  exportSnapshot(snapshot: Snapshot = this.snapshot): string {
    this.#exported ??= this.server.newSnapshotName()
    this.server.exported.set(this.#exported, snapshot)
    this.server.model.hold(this, snapshot)
    return this.#exported
  }

  /** The table, locked for reading if a transaction is open; undefined while somebody has it for itself. */
  read(spec: TableSpec): Heap | undefined {
    const { model } = this.server
    if (model.isLockedAgainst(spec, null)) return undefined
    if (this.#isInTransaction) model.reads(this, spec)
    return model.heap(spec)
  }

  /** The session is over, whoever ended it. */
  leave(): void {
    if (this.isOver) return
    this.isOver = true
    this.end()
    this.server.backends.delete(this)
    this.server.slots.leave(this.pid)
  }
}
