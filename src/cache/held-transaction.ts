import { SqlSnapshot } from '../change/sql-snapshot.js'
import { normaliseInsertLsn, parseLsn } from '../change/lsn.js'
import type { LogPages } from '../freshness/server-position.js'
import { DatabaseGate } from '../query/gate.js'
import { type QueryConnection, unlessAborted } from '../runtime.js'
import type { Seen } from './alignment.js'
import type { Looks } from './setup.js'

/** Reads of one transaction that wait for their turn, at most. */
const WAITING_MAX = 1_000

/** What the transaction sees of the server; its first statement, at which its snapshot is taken. A standby can't tell its insert position. */
const SEEN = `SELECT pg_catalog.pg_current_snapshot() AS snapshot, pg_catalog.pg_postmaster_start_time() AS started,
  pg_catalog.pg_is_in_recovery() AS recovering,
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN '0/0' ELSE pg_catalog.pg_current_wal_insert_lsn() END AS position`

/**
 * A transaction that is held open, all of whose reads show one state: REPEATABLE READ, READ ONLY, on a session of its own.
 *
 * A read lets go of its table's lock at once, by going back to a savepoint: an ALTER TABLE or TRUNCATE that waits for it would keep everybody else waiting.
 */
export class HeldTransaction {
  readonly #session: QueryConnection
  #hasBegun = false
  readonly #turns = new DatabaseGate(1, WAITING_MAX)

  constructor(session: QueryConnection) {
    this.#session = session
  }

  /** Begins, in place of the one before if there is one. `look` says what the tables look like there. */
  async begin(
    pages: LogPages,
    look: (session: QueryConnection) => Promise<Looks>,
  ): Promise<{ readonly seen: Seen; readonly looks: Looks }> {
    const session = this.#session
    // Without one, the server would log a warning.
    if (this.#hasBegun) await session.query('ROLLBACK')
    this.#hasBegun = true
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const [row] = await session.query(SEEN)
    const looks = await look(session)
    await session.query('SAVEPOINT before_reading')
    const position = parseLsn(row!['position']!)
    const seen = {
      snapshot: SqlSnapshot.parse(row!['snapshot']!),
      position: normaliseInsertLsn(position, pages.walBlockBytes, pages.walSegmentBytes),
      startedAt: row!['started']!,
      inRecovery: row!['recovering'] === 't',
      fingerprint: looks.fingerprint,
    }
    return { seen, looks }
  }

  /**
   * What `work` reads, one read at a time.
   *
   * @throws {OverloadedError} @throws {ConnectionError} if the session is lost. Rejects with the signal's reason when it aborts; what was sent goes on.
   */
  read<T>(work: (session: QueryConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return unlessAborted(
      this.#turns.pass(() => this.#read(work), signal),
      signal,
    )
  }

  async #read<T>(work: (session: QueryConnection) => Promise<T>): Promise<T> {
    try {
      return await work(this.#session)
    } finally {
      // It also goes back behind a statement that failed, which would have ended the transaction.
      await this.#session.query('ROLLBACK TO SAVEPOINT before_reading')
    }
  }

  /** Ends it, and the session. Idempotent. */
  close(): Promise<void> {
    return this.#session.close()
  }
}
