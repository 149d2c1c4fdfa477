import type { Logger } from '../observe.js'
import { pause, type ReplicationConnection, type Runtime } from '../runtime.js'

/** How many processes load from one database at once, if none has to wait for too long. */
const LOADS_AT_ONCE = 4
/** Longer than this nobody is kept waiting, whatever those who load are at. */
const TURN_WAIT_MS = 30_000
/** Between two attempts, about. */
const TURN_EVERY_MS = 200

/** The first of the two numbers that name our advisory locks: "walc" in ASCII. */
const LOCK_CLASS = 0x77616c63

/** Takes one of the places if there is one; null if there is none. A session's advisory locks go with it. */
const TAKE_SQL = `SELECT CASE ${Array.from(
  { length: LOADS_AT_ONCE },
  (_, place) => `WHEN pg_try_advisory_lock(${LOCK_CLASS}, ${place}) THEN ${place}`,
).join(' ')} END AS place`

export interface TurnOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly signal: AbortSignal
}

/**
 * Resolves when this process may load: when few others are loading from the database, or when it has waited long enough. Servers that are started
 * together, or have lost the same stream, would else read everything at once. `endLoadTurn` on the same connection, or its end, lets the next one.
 *
 * Rejects with the signal's reason when it aborts.
 */
export async function loadTurn(
  replication: ReplicationConnection,
  { runtime, logger, signal }: TurnOptions,
): Promise<void> {
  const { clock, timers, random } = runtime
  const untilMs = clock.monotonicMs() + TURN_WAIT_MS
  for (let isFirst = true; ; isFirst = false) {
    const [row] = await replication.query(TAKE_SQL)
    if (row!['place'] !== null) return
    if (clock.monotonicMs() >= untilMs) {
      logger.warn(
        `${LOADS_AT_ONCE} processes were loading for ${TURN_WAIT_MS} ms; this one loads beside them.`,
      )
      return
    }
    if (isFirst) logger.info(`${LOADS_AT_ONCE} processes are loading; this one waits for its turn.`)
    await pause(timers, TURN_EVERY_MS * (0.5 + random()), signal)
    signal.throwIfAborted()
  }
}

/** The load is done: the next process may begin. */
export async function endLoadTurn(replication: ReplicationConnection): Promise<void> {
  await replication.query('SELECT pg_advisory_unlock_all()')
}
