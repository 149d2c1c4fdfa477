import { ConnectionError } from '../errors.js'
import type { TextRow } from '../runtime.js'
import { isoStyle, type SessionSettings } from './config.js'
import type { PreparedSession } from './socket.js'

/**
 * Reads back what was pinned, and lifts the two limits that can't be pinned at connect, since they came with 14 and 17.
 */
const PREPARE = `
  select current_setting('DateStyle') as "DateStyle", current_setting('IntervalStyle') as "IntervalStyle",
    current_setting('TimeZone') as "TimeZone", current_setting('bytea_output') as "bytea_output",
    current_setting('extra_float_digits') as "extra_float_digits", current_setting('lc_monetary') as "lc_monetary",
    current_setting('search_path') as "search_path",
    pg_backend_pid() as pid,
    (select count(set_config(name, '0', false)) from pg_settings
      where name in ('idle_session_timeout', 'transaction_timeout')) as lifted`

/**
 * Makes sure that a new session has the pinned settings. A pooler may have dropped them without a word.
 *
 * @throws {ConnectionError} naming the settings that are different.
 */
export async function prepareSession(
  connection: { query(sql: string): Promise<TextRow[]> },
  settings: SessionSettings,
): Promise<PreparedSession> {
  const [found] = await connection.query(PREPARE)
  const wanted: Record<string, string> = {
    DateStyle: isoStyle(settings.dateStyle),
    IntervalStyle: 'postgres',
    TimeZone: settings.timeZone,
    bytea_output: 'hex',
    extra_float_digits: '1',
    lc_monetary: settings.lcMonetary,
    search_path: settings.searchPath,
  }
  const different = Object.keys(wanted).filter(
    name => found?.[name]?.toLowerCase() !== wanted[name]!.toLowerCase(),
  )
  if (different.length === 0) return { pid: Number(found!['pid']) }
  throw new ConnectionError(
    'protocol',
    `The server did not take these session settings: ${different.join(', ')}. A connection pooler that ignores ` +
      'startup options may stand between: give "pool" a pool that goes to the server itself.',
    false,
  )
}
