import type { ClosedError } from '../errors.js'
import type { FreshnessGates } from '../freshness/gates.js'
import { pinNewest, type ReadContext } from '../query/answer.js'
import { DatabaseReader } from '../query/database.js'
import { Pacer } from '../query/pacer.js'
import type { DatabaseGate } from '../query/gate.js'
import type { ReadScope, ScopeContext } from '../query/scope.js'
import type { Snapshot } from '../query/types.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { Generation } from './generation.js'
import { positionIn } from './histories.js'
import type { ResolvedOptions } from './options.js'
import type { Positions } from './positions.js'

export interface ReadsHost {
  readonly options: ResolvedOptions
  readonly gates: FreshnessGates
  readonly databaseGate: DatabaseGate
  readonly positions: Positions
  /** Our own sessions. */
  readonly sessions: SessionPool
  /** @throws {CacheError} if no generation can be read. */
  readonly readable: () => Generation
  /** Has the server asked now. */
  readonly prove: (signal: AbortSignal | undefined) => Promise<void>
  readonly closed: () => ClosedError | null
  readonly scope: () => ReadScope | null
}

/** What the reads of a cache's tables share. */
export function readContextOf(host: ReadsHost): ReadContext {
  const { options, gates, databaseGate, positions, sessions, readable } = host
  const { codec, waits, server } = positions
  return {
    runtime: options.runtime,
    gate: gates.common,
    pacer: new Pacer(options.runtime, options.sliceMs),
    database: new DatabaseReader(databaseGate, sessions.run.bind(sessions), () => positions.pages),
    maxStalenessMs: options.maxStalenessMs,
    onStale: options.onStale,
    onUnknown: options.onUnknown,
    positionOf: token => codec.decode(token),
    position: () => positionIn(readable()),
    serverPosition: () => server.get(),
    waitFor: (position, wait) => waits.waitFor(position, wait),
    mustCover: (position, by) => waits.mustCover(position, by),
    prove: host.prove,
    closed: host.closed,
    scope: host.scope,
    session: null,
    tokenOf: position => codec.encode(position, position.lsn),
  }
}

/** The same for the reads of one request, which `open` pins a commit for. */
export function scopeContextOf(
  { codec, waits }: Positions,
  reads: ReadContext,
  open: () => Snapshot,
  token: ScopeContext['token'],
): ScopeContext {
  return {
    gate: reads.gate,
    onUnknown: reads.onUnknown,
    pin: options => pinNewest(reads, options, open),
    covers: (snapshot, wanted) => waits.isIn(codec.decode(wanted), codec.decode(snapshot.position)),
    token,
  }
}
