import type { TextRow } from '../../../src/runtime.js'
import { keyOf, TABLES, type TableSpec, type Texts } from '../schema.js'
import type { Backend } from './backend.js'
import { escaped, exactly } from './catalog-statements.js'
import { lsnText, type Position } from './log.js'
import type { PostgresModel } from './model.js'
import {
  type Answer,
  type Parameters,
  row,
  type Statement,
  UnknownStatementError,
} from './statements-types.js'

/** Whether the columns have their types still, as those of these tables always have. */
const SAME = String.raw`ARRAY\[[^']*\]::pg_catalog\.oid\[\]::text = '\{[\d,]*\}' AS same`
const PLACE = `${escaped(
  `FROM (SELECT pg_current_snapshot() AS snapshot, pg_is_in_recovery() AS recovering, pg_postmaster_start_time() AS started,
    CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_insert_lsn() END AS position,`,
)} ${SAME}${escaped(') AS s')}`

export const readStatements: readonly Statement[] = [
  {
    name: 'fill by key',
    text: new RegExp(
      `^SELECT s\\.\\*, t\\.xmin AS xmin, (.*) ${PLACE} LEFT JOIN "public"\\."(\\w+)" AS t ON t\\."(\\w+)" = ANY \\(\\$1\\)$`,
    ),
    answer: fill,
  },
  {
    name: 'fill by key, of a selection',
    text: new RegExp(
      `^SELECT s\\.\\*, t\\.\\* ${PLACE} LEFT JOIN \\(SELECT t\\.xmin AS xmin, (.*) FROM "public"\\."(\\w+)" AS t WHERE t\\."(\\w+)" = ANY \\(\\$1\\)\\) AS t ON true$`,
    ),
    answer: fill,
  },
  {
    name: 'read by key',
    text: new RegExp(
      `^SELECT place\\.\\*, answer\\.\\* FROM \\(SELECT pg_catalog\\.pg_current_snapshot\\(\\) AS snapshot, ${positionText()}, ${SAME}\\) AS place LEFT JOIN \\(SELECT true AS found, selected\\.\\* FROM \\(SELECT (.*) FROM "public"\\."(\\w+)" AS t WHERE (t\\."\\w+" = \\$1(?: AND t\\."\\w+" = \\$2)?)\\) AS selected\\) AS answer ON true$`,
    ),
    answer: readByKey,
  },
  {
    name: 'position',
    text: new RegExp(`^SELECT ${positionText()}$`),
    answer: ({ server }) => [row('position', position(server.model, server.model.log.insert))],
  },
  {
    name: 'nudge',
    text: exactly(`SELECT CASE WHEN pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()
      THEN pg_logical_emit_message(true, 'walcache', '') END AS flushed`),
    answer: ({ server }) => {
      const { log } = server.model
      if (log.flushed >= log.insert) return [row('nudge', { flushed: null })]
      return [row('nudge', { flushed: lsnText(server.emitMessage('walcache')) })]
    },
  },
  {
    name: 'begin repeatable read',
    text: /^BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY$/,
    answer: backend => {
      backend.begin()
      return []
    },
  },
  {
    name: 'first statement',
    text: /^SELECT 1$/,
    answer: ({ snapshot }) => (snapshot.xmin < 0 ? undefined : []),
  },
  {
    name: 'import snapshot',
    text: /^SET TRANSACTION SNAPSHOT '([\w-]+)'$/,
    answer: (backend, [, name]) => {
      backend.importSnapshot(name!)
      return []
    },
  },
  {
    name: 'export snapshot',
    text: /^SELECT pg_export_snapshot\(\) AS name, pg_current_snapshot\(\) AS snapshot$/,
    answer: backend => [
      row('export snapshot', { name: backend.exportSnapshot(), snapshot: backend.snapshot.text }),
    ],
  },
  {
    name: 'snapshot of a table read anew',
    text: /^SELECT pg_current_snapshot\(\) AS snapshot, pg_current_wal_insert_lsn\(\) AS position, pg_export_snapshot\(\) AS name$/,
    answer: backend => {
      backend.server.tableReadMs = backend.server.scheduler.nowMs
      return [
        row('snapshot of a table read anew', {
          snapshot: backend.snapshot.text,
          position: lsnText(backend.server.model.log.insert),
          name: backend.exportSnapshot(),
        }),
      ]
    },
  },
  {
    name: 'same file',
    text: /^SELECT c\.oid = '"public"\."(\w+)"'::regclass AND c\.relfilenode = pg_relation_filenode\('"public"\."\w+"'::regclass\) AS same FROM pg_catalog\.pg_class c WHERE c\.oid = \d+$/,
    answer: (backend, [, name]) => {
      const heap = backend.read(tableNamed(name!))
      if (heap === undefined) return undefined
      return [row('same file', { same: heap.fileAsOf(backend.snapshot) === heap.file ? 't' : 'f' })]
    },
  },
]

function positionText(): string {
  return `${escaped('(SELECT system_identifier FROM pg_catalog.pg_control_system())::text AS system, pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) AS segment,')} \\((?:pg_catalog\\.)?pg_current_wal_insert_lsn\\(\\)\\)::text AS position`
}

function position({ systemId, timeline }: PostgresModel, at: Position): Record<string, string> {
  const segment = timeline.toString(16).padStart(8, '0').padEnd(24, '0')
  return { system: systemId, segment, position: lsnText(at) }
}

export function tableNamed(name: string): TableSpec {
  const spec = TABLES.find(each => each.name === name)
  if (spec === undefined) throw new UnknownStatementError(`(it names the table "${name}")`)
  return spec
}

/** `t."id" AS c0, t."n" AS c1`: the positions of the columns, by the names that they are given. */
function selected(spec: TableSpec, list: string): number[] {
  return list.split(', ').map((item, place) => {
    const [, name, alias] = /^t\."(\w+)" AS c(\d+)$/.exec(item) ?? []
    const at = spec.columns.findIndex(column => column.name === name)
    if (at === -1 || Number(alias) !== place) throw new UnknownStatementError(`(it selects ${item})`)
    return at
  })
}

function named(columns: readonly number[], texts: Texts | null): Record<string, string | null> {
  return Object.fromEntries(columns.map((at, place) => [`c${place}`, texts === null ? null : texts[at]!]))
}

function fill(backend: Backend, [, list, table, column]: RegExpExecArray, [keys]: Parameters): Answer {
  const spec = tableNamed(table!)
  if (spec.key.length !== 1 || spec.columns[spec.key[0]!]!.name !== column)
    throw new UnknownStatementError(`(a fill of ${table} by ${column})`)
  const heap = backend.read(spec)
  if (heap === undefined) return undefined
  const { server } = backend
  const { snapshot } = backend
  const columns = selected(spec, list!)
  const place = {
    snapshot: snapshot.text,
    recovering: server.isStandby ? 't' : 'f',
    started: server.model.startedAt,
    position: server.isStandby ? '0/0' : lsnText(server.model.log.insert),
    same: 't',
  }
  const rows: TextRow[] = []
  for (const key of arrayOf(keys!)) {
    const version = heap.visible(key, snapshot)
    if (version !== null)
      rows.push(
        row('fill by key', {
          ...place,
          xmin: String(version.rowXid % 2 ** 32),
          ...named(columns, version.texts),
        }),
      )
  }
  return rows.length > 0 ? rows : [row('fill by key', { ...place, xmin: null, ...named(columns, null) })]
}

/** `{"1","2"}`. */
function arrayOf(literal: string): string[] {
  return JSON.parse(`[${literal.slice(1, -1)}]`) as string[]
}

function readByKey(
  backend: Backend,
  [, list, table, where]: RegExpExecArray,
  parameters: Parameters,
): Answer {
  const spec = tableNamed(table!)
  const heap = backend.read(spec)
  if (heap === undefined) return undefined
  const { server, snapshot } = backend
  const columns = selected(spec, list!)
  const texts: (string | null)[] = spec.columns.map(() => null)
  const names = where!.split(' AND ').map(part => /"(\w+)"/.exec(part)![1]!)
  for (const [i, name] of names.entries())
    texts[spec.columns.findIndex(each => each.name === name)] = parameters[i]!
  const version = heap.visible(keyOf(spec, texts), snapshot)
  const place = { snapshot: snapshot.text, ...position(server.model, server.model.log.insert), same: 't' }
  return [
    row('read by key', {
      ...place,
      found: version === null ? null : 't',
      ...named(columns, version?.texts ?? null),
    }),
  ]
}

const COPY = /^COPY \(SELECT (.*) FROM "public"\."(\w+)" AS t( WHERE t\.ctid < '\(0,0\)')?\) TO STDOUT$/

/** What COPY writes: lines of texts; undefined while somebody has the table for itself. */
export function copy(backend: Backend, sql: string): string[] | undefined {
  const match = COPY.exec(sql.replaceAll(/\s+/g, ' '))
  if (match === null) throw new UnknownStatementError(sql)
  const [, list, table, empty] = match
  const spec = tableNamed(table!)
  const heap = backend.read(spec)
  if (heap === undefined) return undefined
  if (empty !== undefined) return []
  const columns = list!.split(', ').map(name => spec.columns.findIndex(each => `t."${each.name}"` === name))
  const lines: string[] = []
  for (const { texts } of heap.allVisible(backend.snapshot))
    lines.push(`${columns.map(at => copyText(texts![at]!)).join('\t')}\n`)
  return lines
}

const COPY_ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' }

function copyText(text: string | null): string {
  return text === null ? '\\N' : text.replaceAll(/[\\\t\n\r]/g, found => COPY_ESCAPES[found]!)
}
