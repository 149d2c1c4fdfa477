import type { DecoderLimits } from '../change/limits.js'
import type { SetupProblem } from '../errors.js'
import type { ServerFacts } from './catalog.js'

const VERSION_MIN = 140000

/** Before these minor releases a change of the publication, or DDL, could go unseen by a running decoder. */
const MINOR_RECOMMENDED: Readonly<Record<number, number>> = { 14: 18, 15: 13, 16: 9, 17: 5 }

/** What keeps the cache from starting on this server, whatever the tables are. */
export function serverProblems(
  server: ServerFacts,
  { decoder, convertsEncoding }: DecoderLimits,
): SetupProblem[] {
  const problems: SetupProblem[] = []
  const add = (kind: string, message: string): void => void problems.push({ kind, message })
  if (server.version < VERSION_MIN) {
    add(
      'server-version',
      `this is PostgreSQL ${server.versionText}; 14 is the oldest that is supported. PostgreSQL 13 and older are not.`,
    )
  }
  if (server.walLevel !== 'logical') {
    add(
      'wal-level',
      `wal_level is "${server.walLevel}", so there is no change stream. Let the server's owner run ` +
        `"ALTER SYSTEM SET wal_level = 'logical'" and restart it (on managed servers it is a parameter such as rds.logical_replication).`,
    )
  }
  if (server.inRecovery) {
    add(
      'standby',
      'this is a standby: its snapshots do not list running transactions. Connect to the primary.',
    )
  }
  if (server.encoding === 'SQL_ASCII') {
    add(
      'server-encoding',
      'the database has encoding SQL_ASCII, so a value need not be text at all, and one that is not would stop the change stream. Use a UTF8 database.',
    )
  } else if (server.encoding !== 'UTF8' && !convertsEncoding) {
    add(
      'decoder-encoding',
      `the database has encoding ${server.encoding}, which ${decoder} sends unconverted. Use decoder 'pgoutput'.`,
    )
  }
  if (server.slotsUsed >= server.slotsMax) {
    add(
      'no-free-slot',
      `all ${server.slotsMax} replication slots are in use. Raise max_replication_slots (one for each process), or drop slots that nobody reads (see pg_replication_slots).`,
    )
  }
  if (server.sendersUsed >= server.sendersMax) {
    add(
      'no-free-sender',
      `all ${server.sendersMax} walsenders are in use. Raise max_wal_senders: one for each process, besides the standbys.`,
    )
  }
  return problems
}

export function serverWarnings({ version, versionText }: ServerFacts): string[] {
  const warnings: string[] = []
  const major = Math.floor(version / 10_000)
  const recommended = MINOR_RECOMMENDED[major]
  if (recommended !== undefined && version % 10_000 < recommended) {
    warnings.push(
      `This is PostgreSQL ${versionText}. Before ${major}.${recommended} a running change stream may overlook concurrent ` +
        'changes of its publication and DDL: upgrade.',
    )
  }
  return warnings
}
