import { type Lsn, normaliseInsertLsn } from '../change/lsn.js'
import type { ServerFacts } from '../mapping/catalog.js'
import type { CallerSession } from '../mapping/session.js'
import type { RunQuery } from '../query/database.js'
import type { Connections } from '../runtime.js'
import type { DurableSlot } from '../source/slot-source.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { ResolvedOptions } from './options.js'
import type { GrowingSetup } from './setup.js'

/** What a generation and its parts go by. */
export interface GenerationBase {
  readonly options: ResolvedOptions
  readonly connections: Connections
  /** The caller's. */
  readonly session: CallerSession
  readonly sessions: SessionPool
  /** For reads that memory can't answer: never more of them at a time than the gate lets through. */
  readonly fallThrough: RunQuery
  /** Whether such reads wait for their turn. */
  readonly isBusy: () => boolean
  /** Tables that are added join it. */
  readonly setup: GrowingSetup
  /** The slot that outlives a cut, or null. */
  readonly slot: DurableSlot | null
}

/** Insert positions as the stream can reach them, by the server's pages. */
export function normaliserOf({ walBlockBytes, walSegmentBytes }: ServerFacts): (position: Lsn) => Lsn {
  return position => normaliseInsertLsn(position, walBlockBytes, walSegmentBytes)
}
