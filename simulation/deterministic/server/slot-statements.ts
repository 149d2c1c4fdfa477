import type { TextRow } from '../../../src/runtime.js'
import { lsnText } from './log.js'
import type { ScriptedServer } from './server.js'
import { INVALID_PARAMETER, OBJECT_IN_USE, ServerError, UNDEFINED_OBJECT } from './server-error.js'
import { row, type Statement } from './statements-types.js'

export const slotStatements: readonly Statement[] = [
  {
    name: 'server of a stream',
    text: /^select current_setting\('server_version_num'\) as version, current_setting\('server_version'\) as release, current_setting\('wal_level'\) as wal_level, pg_is_in_recovery\(\) as is_standby, pg_backend_pid\(\) as pid, \(select setting from pg_settings where name = 'wal_sender_timeout'\) as timeout_ms$/,
    answer: ({ server, pid }) => [
      row('server of a stream', {
        version: String(server.model.versionNumber),
        release: `${server.model.major}.20`,
        wal_level: 'logical',
        is_standby: server.isStandby ? 't' : 'f',
        pid: String(pid),
        timeout_ms: String(server.walSenderTimeoutMs),
      }),
    ],
  },
  {
    name: 'lock timeout',
    text: /^SET lock_timeout = (\d+)$/,
    answer: (backend, [, timeout]) => {
      backend.lockTimeoutMs = Number(timeout)
      return []
    },
  },
  {
    name: 'identify system',
    text: /^IDENTIFY_SYSTEM$/,
    answer: ({ server: { model, hidden } }) => [
      row('identify system', {
        systemid: model.systemId,
        timeline: String(hidden === 'timeline' ? 1 : model.timeline),
        xlogpos: lsnText(model.log.flushed),
        dbname: 'app',
      }),
    ],
  },
  {
    name: 'slot',
    text: /^select plugin, temporary, active_pid, confirmed_flush_lsn as confirmed, slot_type = 'logical' and database = current_database\(\) as ours, .* from pg_catalog\.pg_replication_slots s where slot_name = '(\w+)'$/,
    answer: ({ server }, [, name]) => slotRow(server, name!),
  },
  {
    name: 'terminate',
    text: /^select pg_terminate_backend\((\d+)\)$/,
    answer: ({ server }, [, pid]) => {
      const found = [...server.backends].find(each => each.pid === Number(pid))
      found?.onTerminate()
      return [row('terminate', { pg_terminate_backend: found === undefined ? 'f' : 't' })]
    },
  },
  {
    name: 'drop slot',
    text: /^select pg_drop_replication_slot\('(\w+)'\)$/,
    answer: ({ server }, [, name]) => {
      const slot = server.slots.byName.get(name!)
      if (slot === undefined)
        throw new ServerError(UNDEFINED_OBJECT, `replication slot "${name}" does not exist`)
      if (slot.activePid !== null)
        throw new ServerError(OBJECT_IN_USE, `replication slot "${name}" is active for PID ${slot.activePid}`)
      server.slots.byName.delete(name!)
      return [row('drop slot', { pg_drop_replication_slot: '' })]
    },
  },
  {
    name: 'application name',
    text: /^select application_name as name from pg_catalog\.pg_stat_activity where pid = \d+$/,
    answer: () => [row('application name', { name: 'another process' })],
  },
  {
    name: 'start time',
    text: /^select pg_postmaster_start_time\(\) as started$/,
    answer: ({ server }) => [row('start time', { started: server.model.startedAt })],
  },
  {
    name: 'turn to load',
    text: /^SELECT CASE (?:WHEN pg_try_advisory_lock\(\d+, \d\) THEN \d )+END AS place$/,
    answer: ({ server }) => [
      row('turn to load', { place: server.faults.strikes('others are loading', 0.3) ? null : '0' }),
    ],
  },
  { name: 'end of the turn', text: /^SELECT pg_advisory_unlock_all\(\)$/, answer: () => [] },
  {
    name: 'newest transaction',
    text: /^select pg_snapshot_xmax\(pg_current_snapshot\(\)\) as xmax$/,
    answer: ({ snapshot }) => [row('newest transaction', { xmax: String(snapshot.xmax) })],
  },
  {
    name: 'transactions committed',
    text: /^select bool_and\(pg_xact_status\(id\) = 'committed'\) as committed from \(values (.*)\) as applied \(id\)$/,
    answer: ({ server }, [, list]) => [
      row('transactions committed', { committed: hasAll(server, list!) ? 't' : 'f' }),
    ],
  },
  {
    name: 'slots kept',
    text: /^select slot_name as name, active, pg_wal_lsn_diff\(pg_current_wal_lsn\(\), restart_lsn\) as retained,/,
    answer: ({ server }) =>
      [...server.slots.byName.values()]
        .filter(({ isTemporary }) => !isTemporary)
        .map(slot =>
          row('slots kept', {
            name: slot.name,
            active: slot.activePid === null ? 'f' : 't',
            retained: String(server.model.log.end - slot.confirmed),
            progress: lsnText(slot.confirmed),
          }),
        ),
  },
  {
    name: 'oldest writers',
    text: /^select 'pid ' \|\| l\.pid \|\| coalesce\(' since '/,
    answer: ({ server }) =>
      [...server.model.runningTransactions]
        .slice(0, 3)
        .map(({ xid }) => row('oldest writers', { writer: `pid ${xid}`, since: null })),
  },
  {
    name: 'what a walsender does',
    text: /^select wait_event_type as waits from pg_stat_activity where pid = \$1$/,
    answer: ({ server }, _match, [asked]) =>
      [...server.backends]
        .filter(({ pid }) => pid === Number(asked))
        .map(({ waits }) => row('what a walsender does', { waits })),
  },
  {
    name: 'what sessions wait for',
    text: /^select pid, wait_event_type as waits from pg_catalog\.pg_stat_activity where pid = any\(\$1\)$/,
    answer: ({ server }, _match, [pids]) => {
      const asked = pids!.slice(1, -1).split(',').map(Number)
      return [...server.backends]
        .filter(({ pid }) => asked.includes(pid))
        .map(({ pid, waits }) => row('what sessions wait for', { pid: String(pid), waits }))
    },
  },
  {
    name: 'timeline history',
    text: /^TIMELINE_HISTORY (\d+)$/,
    answer: ({ server: { model } }) => {
      const lines = [...model.timelineEnds].map(
        ([timeline, end]) => `${timeline}\t${lsnText(end)}\tno reason\n`,
      )
      return [row('timeline history', { filename: 'history', content: lines.join('\n') })]
    },
  },
]

function slotRow({ slots }: ScriptedServer, name: string): TextRow[] {
  const slot = slots.byName.get(name)
  if (slot === undefined) return []
  return [
    row('slot', {
      plugin: slot.plugin,
      temporary: slot.isTemporary ? 't' : 'f',
      active_pid: slot.activePid === null ? null : String(slot.activePid),
      confirmed: slot.isReady ? lsnText(slot.confirmed) : null,
      ours: 't',
      invalidation: slot.invalidation,
      synced: 'f',
    }),
  ]
}

/** `('701'::xid8), ('702'::xid8)`: whether all of them are committed here. */
function hasAll({ model }: ScriptedServer, list: string): boolean {
  const snapshot = model.snapshot()
  const xids = [...list.matchAll(/'(\d+)'::xid8/g)].map(([, xid]) => Number(xid))
  if (xids.some(xid => xid >= snapshot.xmax))
    throw new ServerError(INVALID_PARAMETER, 'transaction ID is in the future')
  return xids.every(xid => !model.isRunning(xid) && model.wasCommitted(xid))
}
