import type { AppliedTable } from '../apply/binding.js'
import { idOf } from '../apply/fill-image.js'
import { keysSql, readReply } from '../apply/fill-sql.js'
import { asError } from '../errors.js'
import type { Logger } from '../observe.js'
import type { RunQuery } from '../query/database.js'
import { pause, type Runtime, within } from '../runtime.js'
import { noAnswer } from '../wire/connect-errors.js'

/** How long a row may take to be had: the stream is held meanwhile. */
const LIMIT_MS = 2_000
/** So many rows of one transaction are asked for, one after another: to read a table anew is quicker than to ask for more. */
const ROWS_MAX = 256
/** Between two questions to a server that does not show a transaction to queries yet, though it has sent it. */
const LOOK_AGAIN_MS = 5

export interface EnteringRowOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly run: RunQuery
  /** The server's start time, if it is known; another one means another server. */
  readonly startedAt: () => string | null
}

/**
 * The row with this key as transaction `xid` has left it, in a record; null if that can't be had: nobody may see the transaction yet, a later one may
 * have changed the row since, or a subtransaction may have written it, whose id says nothing; or too many rows were asked for `before`.
 *
 * PostgreSQL shows no past state of a row. But the version that a query sees names the transaction that has written it, and if that is this one,
 * the row is as it has left it.
 *
 * Rejects with the signal's reason when it aborts.
 */
export async function readEntering(
  { mapping, table }: AppliedTable,
  key: Buffer,
  xid: number,
  before: number,
  { runtime, logger, run, startedAt }: EnteringRowOptions,
  signal: AbortSignal,
): Promise<Buffer | null> {
  if (before >= ROWS_MAX) return null
  const { timers } = runtime
  const { format } = table
  // Whether the filter holds is for whoever asked to say.
  const { sql, parameters } = keysSql({ ...mapping, filter: null }, format, [key])
  const read = async (limited: AbortSignal): Promise<Buffer | null> => {
    for (;;) {
      const answer = await run(session => session.query(sql, parameters), limited)
      const reply = readReply(mapping, format, answer)
      const known = startedAt()
      if (reply.inRecovery || (known !== null && known !== reply.startedAt)) return null
      const writer = reply.snapshot.widen(xid)
      if (reply.snapshot.sees(writer)) {
        const found = reply.rows.get(idOf(key))
        return found?.xmin === writer ? found.row.bytes : null
      }
      await pause(timers, LOOK_AGAIN_MS, limited)
      limited.throwIfAborted()
    }
  }
  try {
    return await within(timers, LIMIT_MS, signal, () => noAnswer(LIMIT_MS), read)
  } catch (error) {
    signal.throwIfAborted()
    logger.warn(
      `A row that has come into the filter of ${mapping.name} could not be read: ${asError(error).message}`,
    )
    return null
  }
}
