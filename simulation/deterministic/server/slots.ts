import type { Position } from './log.js'

export interface Slot {
  readonly name: string
  readonly plugin: string
  readonly isTemporary: boolean
  /** Everything before it need not be sent any more. */
  confirmed: Position
  /** As of the last checkpoint: what a crash goes back to. */
  persisted: Position
  /** The process that streams from it, or makes it; null if none does. */
  activePid: number | null
  /** Why the server has given it up. */
  invalidation: string | null
  /** False while it is being made. */
  isReady: boolean
}

/** The server's replication slots. */
export class Slots {
  readonly byName = new Map<string, Slot>()

  /** A process has ended: its temporary slots go, durable ones are free. */
  leave(pid: number): void {
    for (const slot of this.byName.values()) {
      if (slot.activePid !== pid) continue
      if (slot.isTemporary || !slot.isReady) this.byName.delete(slot.name)
      else slot.activePid = null
    }
  }

  checkpoint(): void {
    for (const slot of this.byName.values()) slot.persisted = slot.confirmed
  }

  /** The server was restarted. */
  restart(): void {
    for (const slot of this.byName.values()) {
      if (slot.isTemporary || !slot.isReady) this.byName.delete(slot.name)
      slot.confirmed = slot.persisted
      slot.activePid = null
    }
  }
}
