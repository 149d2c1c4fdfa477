import { formatLsn } from '../change/lsn.js'
import type { ChangeFeed } from '../feed/feed.js'
import type { LiveTable } from '../query/live.js'
import type { DatabaseGate } from '../query/gate.js'
import type { DeclaredTables } from './declared-tables.js'
import type { Generation } from './generation.js'
import type { CacheHealth, CacheState } from './health.js'
import type { Lifecycle } from './lifecycle.js'
import type { SnapshotKeeper } from './snapshots.js'
import type { TokenWaits } from './tokens.js'

/** The parts of a cache that an operator wants to hear of. */
export interface HealthSources {
  readonly state: CacheState
  readonly stalenessMs: number
  /** The generation that is read; null before the first one. */
  readonly live: Generation | null
  /** Null before the server was reached. */
  readonly lifecycle: Lifecycle | null
  readonly tables: DeclaredTables
  readonly snapshots: SnapshotKeeper
  readonly feed: ChangeFeed<LiveTable>
  readonly waits: TokenWaits
  readonly databaseGate: DatabaseGate
}

/** How a cache is doing now. */
export function healthOf(sources: HealthSources): CacheHealth {
  const { state, stalenessMs, live, lifecycle, tables, snapshots, feed, waits, databaseGate } = sources
  return {
    state,
    stalenessMs,
    lsn: live === null ? null : formatLsn(live.store.position),
    bytes: live?.store.bytes ?? 0,
    tables: tables.health(),
    openSnapshots: snapshots.size,
    oldestSnapshotAgeMs: snapshots.oldestAgeMs(),
    changeReaders: feed.subscribers,
    feedBytes: feed.bytes,
    waiting: waits.size,
    databaseRunning: databaseGate.running,
    databaseWaiting: databaseGate.waiting,
    reconnects: lifecycle?.reconnects ?? 0,
    retainedWalBytes: lifecycle?.retainedWalBytes ?? null,
    lastError: lifecycle?.lastError ?? null,
  }
}
