import type pg from 'pg'
import { parse as parseConnectionString } from 'pg-connection-string'

/** What of the caller's session shows in the text of values, or in what operators mean, and so has to be ours as well. */
export interface SessionSettings {
  /** How it writes dates, and in which order it reads one such as 1/2/2024: `ISO, DMY`. */
  readonly dateStyle: string
  readonly timeZone: string
  readonly lcMonetary: string
  /** The schemas in it, quoted. */
  readonly searchPath: string
}

/** How the server wants to be reached: a URL, or what `pg.Client` takes. */
export type ConnectionSource = string | pg.ClientConfig

/** Idle replication connections pass through routers that forget them; this is how long TCP waits before it asks. */
const KEEP_ALIVE_DELAY_MS = 10_000

/** A server whose client says nothing asks whether it is there, after so many seconds and then every so many; after so many questions it ends the session. */
const SERVER_ASKS_AFTER_S = 15
const SERVER_ASKS_EVERY_S = 5
const SERVER_ASKS = 3

/**
 * Settings that change what a value's text is, what a query sees, or how long a session lives. They are pinned, so that
 * the stream, the loads and the reads of one row agree whatever the role's or the database's defaults are.
 */
function pinnedSettings({
  dateStyle,
  timeZone,
  lcMonetary,
  searchPath,
}: SessionSettings): Record<string, string> {
  return {
    datestyle: isoStyle(dateStyle),
    intervalstyle: 'postgres',
    timezone: timeZone,
    extra_float_digits: '1',
    bytea_output: 'hex',
    lc_monetary: lcMonetary,
    // It decides which operators a type has, as citext's, and whether the text of a regclass names the schema.
    search_path: searchPath,
    // Literals in replication commands are quoted by doubling their quotes alone.
    standard_conforming_strings: 'on',
    // In repeatable read, a query that waited for an ALTER TABLE would find the table empty.
    default_transaction_isolation: 'read committed',
    default_transaction_read_only: 'off',
    // A policy would filter rows silently; like this the query fails instead.
    row_security: 'off',
    // The one thing we write is a message to ourselves: it need not wait for a standby.
    synchronous_commit: 'local',
    // A load takes as long as it takes, and its snapshot's transaction is idle meanwhile.
    statement_timeout: '0',
    lock_timeout: '0',
    idle_in_transaction_session_timeout: '0',
    // What a session has locked, and the snapshot it keeps others' old rows for, would else outlive a vanished machine by the system's two hours.
    tcp_keepalives_idle: String(SERVER_ASKS_AFTER_S),
    tcp_keepalives_interval: String(SERVER_ASKS_EVERY_S),
    tcp_keepalives_count: String(SERVER_ASKS),
  }
}

/** Dates are written as ISO has them, and read in the caller's order: `1/2/2024` is the day that it is to his own sessions. */
export function isoStyle(dateStyle: string): string {
  return dateStyle.replace(/^[^,]*/, 'ISO')
}

/** The `options` startup parameter: the caller's own, then the pinned settings, which win. */
export function startupOptions(callers: string | undefined, settings: SessionSettings): string {
  const pinned = Object.entries(pinnedSettings(settings)).map(
    ([name, value]) => `-c ${name}=${escaped(value)}`,
  )
  return [...(callers === undefined || callers === '' ? [] : [callers]), ...pinned].join(' ')
}

/** Inside `options` a space ends an argument, and a backslash takes a character as it is. */
function escaped(value: string): string {
  return value.replaceAll(/[\\\s]/g, '\\$&')
}

/**
 * `source` as a configuration for a connection of our own: reached and authenticated as the caller's are, with pinned
 * settings, and values left as text. `environment` is where `pg` looks for what is not given.
 */
export function clientConfig(
  source: ConnectionSource,
  settings: SessionSettings,
  applicationName: string,
  environment: Readonly<Record<string, string | undefined>>,
): pg.ClientConfig {
  const given = typeof source === 'string' ? { connectionString: source } : source
  const { connectionString } = given
  const parsed = connectionString === undefined ? {} : parseConnectionString(connectionString)
  const {
    // Parsed already; pg would let it win over what is set below.
    connectionString: _url,
    // These are startup parameters of their own, which would win over the pinned settings.
    statement_timeout: _statement,
    lock_timeout: _lock,
    idle_in_transaction_session_timeout: _idle,
    // Ends a query on our side only: a long load is no error.
    query_timeout: _query,
    // Whether a connection replicates is for us to say.
    replication: _replication,
    ...rest
  } = { ...given, password: given.password, ...parsed } as pg.ClientConfig & { replication?: unknown }
  return {
    ...rest,
    options: startupOptions(rest.options || environment['PGOPTIONS'], settings),
    application_name: applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: rest.keepAliveInitialDelayMillis ?? KEEP_ALIVE_DELAY_MS,
    // The connection's owner has a deadline of its own, which also covers what pg's does not.
    connectionTimeoutMillis: 0,
    pipeline: false,
    types: { getTypeParser: () => asText },
  }
}

const asText = (text: string): string => text
