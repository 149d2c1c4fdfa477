/**
 * What goes wrong between a cache and its server. Each fault is begun by itself and ended, if it lasts, before everything has to agree again:
 * so that what is shown while it lasts (safety) and that things come right after it (liveness) are looked at apart.
 */
import type pg from 'pg'
import type { PostgresServer } from '../../test/support/postgres.js'
import type { TcpProxy } from '../../test/support/tcp-proxy.js'
import type { Random } from '../random.js'
import { qualifiedName } from '../sql.js'
import type { SimulatedTable } from '../tables.js'

/** What faults act upon. */
export interface FaultScene {
  readonly server: Pick<PostgresServer, 'stop' | 'start'>
  /** Between the cache and the server. */
  readonly proxy: TcpProxy
  readonly tables: readonly SimulatedTable[]
  readonly random: Random
  /** Asks the server past the proxy. */
  query(sql: string): Promise<pg.QueryResult>
  /** The same on a session of its own, for what waits; it is ended with the fault. */
  queryAside(...sql: readonly string[]): Promise<void>
  /** Sessions of the history, after the server has ended them. */
  reconnect(): Promise<void>
}

export interface Fault {
  /** Whether it needs that no transaction is open. */
  readonly atRest?: boolean
  /** The stream says nothing of it: until it is noticed, memory may lack what came meanwhile. */
  readonly isSilent?: boolean
  begin(scene: FaultScene): Promise<void>
  /** Those that last are ended so. */
  end?(scene: FaultScene): Promise<void>
}

const STALL_MAX_MS = 1_500
const FREEZE_MAX_MS = 2_500
const HANG_MAX_MS = 400
/** Well below the writers' lock_timeout. */
const NOTICED_MAX_MS = 2_000
/** Of all that a database can say about the look of values. */
const HOSTILE_SETTINGS: Readonly<Record<string, string>> = {
  datestyle: "'German, DMY'",
  intervalstyle: "'sql_standard'",
  bytea_output: "'escape'",
  extra_float_digits: '0',
  timezone: "'America/New_York'",
}

/** Those of the cache. */
const OF_THE_CACHE =
  "datname = current_database() and application_name = 'walcache' and backend_type = 'client backend'"
const SESSIONS = `select pg_terminate_backend(pid) from pg_stat_activity where ${OF_THE_CACHE}`
const WALSENDERS = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and backend_type = 'walsender'`

export const faults = {
  'connections are reset': {
    async begin({ proxy }) {
      proxy.cut()
    },
  },
  'connections are half-open, unknown to the server': {
    async begin(scene) {
      const left = await sessionsOf(scene)
      scene.proxy.forsake()
      noticeLater(scene, left)
    },
  },
  'the network swallows everything': {
    async begin(scene) {
      const left = await sessionsOf(scene)
      scene.proxy.blackHole()
      noticeLater(scene, left)
    },
    async end({ proxy }) {
      proxy.mend()
    },
  },
  'the network stands still': {
    async begin({ proxy, random }) {
      proxy.freeze()
      setTimeout(() => proxy.thaw(), random.between(50, FREEZE_MAX_MS)).unref()
    },
    async end({ proxy }) {
      proxy.thaw()
    },
  },
  'the network is slow': {
    async begin({ proxy, random }) {
      proxy.setWeather({ delayMs: random.between(1, 30) })
    },
    end: clearUp,
  },
  'packets are split': {
    async begin({ proxy, random }) {
      proxy.setWeather({ pieceBytes: random.between(1, 40) })
    },
    end: clearUp,
  },
  'packets are joined': {
    async begin({ proxy, random }) {
      proxy.setWeather({ gatherMs: random.between(1, 30) })
    },
    end: clearUp,
  },
  'the walsender is killed': {
    async begin({ query }) {
      await query(WALSENDERS)
    },
  },
  'the sessions are killed': {
    async begin({ query }) {
      await query(SESSIONS)
    },
  },
  'the event loop stalls': {
    async begin({ random }) {
      const until = performance.now() + random.between(50, STALL_MAX_MS)
      while (performance.now() < until);
    },
  },
  'commits hang on a standby': {
    async begin({ query, random }) {
      await query("alter system set synchronous_standby_names = 'nobody'")
      await query('select pg_reload_conf()')
      // By a timer: a writer may be waiting for its commit, and the history with it.
      setTimeout(() => void noStandby(query).catch(() => undefined), random.between(20, HANG_MAX_MS)).unref()
    },
    end: ({ query }) => noStandby(query),
  },
  'a transaction stays open': {
    begin: ({ queryAside }) => queryAside('begin', 'select pg_current_xact_id()'),
  },
  'a transaction is prepared and rolled back': {
    async begin({ queryAside }) {
      await queryAside(
        'begin',
        'insert into aside values (1)',
        "prepare transaction 'aside'",
        "rollback prepared 'aside'",
      )
    },
  },
  'others write and send messages': {
    // Not by `query`: its commit may hang on a standby, and what ends that would wait behind it.
    begin: ({ queryAside }) =>
      queryAside(`insert into aside select generate_series(1, 500); delete from aside;
        select pg_logical_emit_message(true, 'aside', 'text'), pg_logical_emit_message(false, 'aside', 'text')`),
  },
  'the log is switched': {
    async begin({ query }) {
      await query('select pg_switch_wal()')
      await query('checkpoint')
    },
  },
  'the server restarts': {
    atRest: true,
    begin: scene => restart(scene, 'fast'),
  },
  'the server crashes': {
    atRest: true,
    begin: scene => restart(scene, 'immediate'),
  },
  'the slot is dropped': {
    atRest: true,
    async begin({ query }) {
      // Its owner may be back first; then that was only a cut.
      await query(`do $$ begin
        perform pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active;
        perform pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database() and not active;
      exception when object_in_use or undefined_object then null; end $$`)
    },
  },
  'a table leaves the publication and comes back': {
    atRest: true,
    isSilent: true,
    async begin({ query, tables, random }) {
      const table = qualifiedName(random.pick(tables))
      const { rows } = await query('select quote_ident(pubname) as name from pg_publication')
      for (const { name } of rows as { name: string }[]) {
        await query(`alter publication ${name} drop table ${table}`)
        await query(`alter publication ${name} add table ${table}`)
      }
    },
  },
  'a table is rewritten': {
    atRest: true,
    async begin({ query, tables, random }) {
      await query(`vacuum full ${qualifiedName(random.pick(tables))}`)
    },
  },
  'a column comes and goes': {
    atRest: true,
    isSilent: true,
    async begin({ query, tables, random }) {
      const table = qualifiedName(random.pick(tables))
      await query(
        `alter table ${table} add column passing int default 7; alter table ${table} drop column passing`,
      )
    },
  },
  'the replica identity changes': {
    atRest: true,
    isSilent: true,
    async begin({ query, tables, random }) {
      const identity = random.pick(['full', 'default'])
      await query(`alter table ${qualifiedName(random.pick(tables))} replica identity ${identity}`)
    },
  },
  'the database has hostile settings': {
    atRest: true,
    async begin({ query }) {
      for (const [name, value] of Object.entries(HOSTILE_SETTINGS))
        await query(inDatabase(`set ${name} to ${value}`))
      await query(WALSENDERS)
      await query(SESSIONS)
    },
    async end({ query }) {
      for (const name of Object.keys(HOSTILE_SETTINGS)) await query(inDatabase(`reset ${name}`))
    },
  },
} satisfies Record<string, Fault>

export type FaultName = keyof typeof faults

export const faultNames = Object.keys(faults) as readonly FaultName[]

/** The processes that serve the cache's queries and loads. */
async function sessionsOf({ query }: FaultScene): Promise<readonly number[]> {
  const { rows } = await query(`select pid from pg_stat_activity where ${OF_THE_CACHE}`)
  return (rows as { pid: number }[]).map(({ pid }) => pid)
}

/**
 * The server finds out that nobody is at the other end of these sessions, as its keepalives do in hours: a load among them would keep its tables
 * locked until then, and a TRUNCATE of the history would wait. Of its walsenders it does not.
 */
function noticeLater({ query, random }: FaultScene, pids: readonly number[]): void {
  const notice = `select pg_terminate_backend(pid) from pg_stat_activity where pid in (${[0, ...pids].join(', ')}) and ${OF_THE_CACHE}`
  // A server that has been stopped meanwhile knows of no session.
  setTimeout(() => void query(notice).catch(() => undefined), random.between(50, NOTICED_MAX_MS)).unref()
}

async function clearUp({ proxy }: FaultScene): Promise<void> {
  proxy.setWeather({})
}

async function noStandby(query: FaultScene['query']): Promise<void> {
  await query('alter system reset synchronous_standby_names')
  await query('select pg_reload_conf()')
}

async function restart({ server, reconnect }: FaultScene, mode: 'fast' | 'immediate'): Promise<void> {
  await server.stop(mode)
  await server.start()
  await reconnect()
}

/** ALTER DATABASE takes no expression for its name. */
const inDatabase = (change: string): string =>
  `do $$ begin execute format('alter database %I ${change.replaceAll("'", "''")}', current_database()); end $$`
