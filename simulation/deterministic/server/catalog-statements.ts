import { FILES_SQL } from '../../../src/freshness/files.js'
import { fingerprintSql } from '../../../src/freshness/fingerprint.js'
import { CALLER_SESSION_SQL } from '../../../src/mapping/session.js'
import { TABLES, type TableSpec, TYPE_OIDS } from '../schema.js'
import type { Backend } from './backend.js'
import { LOG_SIZES, lsnText } from './log.js'
import type { ScriptedServer } from './server.js'
import { row, type Statement } from './statements-types.js'

/** A text of the cache's own as it is, in whatever white space. */
export function exactly(sql: string): RegExp {
  return new RegExp(`^${escaped(sql)}$`)
}

export function escaped(sql: string): string {
  return sql
    .replaceAll(/\s+/g, ' ')
    .trim()
    .replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`)
}

const anyFingerprint = `(?:${[140_000, 150_000].map(version => escaped(fingerprintSql(version))).join('|')})`
const maybeFiles = `(${escaped(FILES_SQL)}|NULL)`

/** A text that is another one once the table was altered or the publication changed. */
export function fingerprint({ alterations, published, publication }: ScriptedServer, oids: string): string {
  const entries = idsIn(oids).map(oid => [oid, `${alterations.get(oid) ?? 0} ${published.get(oid) ?? 'out'}`])
  return JSON.stringify({
    ...Object.fromEntries(entries),
    publication: publication === null ? null : String(publication),
  })
}

export function files({ model }: ScriptedServer, oids: string): string {
  return idsIn(oids)
    .map(oid => `${oid} ${model.heap({ oid }).file}`)
    .join(',')
}

function idsIn(oids: string): number[] {
  const list = oids.slice(1, -1)
  return list === '' ? [] : list.split(',').map(Number)
}

export const catalogStatements: readonly Statement[] = [
  {
    name: 'caller session',
    text: exactly(CALLER_SESSION_SQL),
    answer: () => [
      row('caller session', {
        dateStyle: 'ISO, MDY',
        intervalStyle: 'postgres',
        byteaOutput: 'hex',
        extraFloatDigits: '1',
        timeZone: 'UTC',
        lcMonetary: 'C',
        searchPath: 'public',
      }),
    ],
  },
  {
    name: 'catalogue',
    text: /^select json_build_object\('server', \( select json_build_object\( 'version',/,
    answer: ({ server }, _match, [names]) => {
      const wanted = JSON.parse(names!) as { name: string }[]
      const tables = TABLES.filter(({ name }) => wanted.some(each => each.name === name))
      const catalog = { server: serverFacts(server), tables: tables.map(spec => tableFacts(spec)) }
      return [row('catalogue', { catalog: JSON.stringify(catalog) })]
    },
  },
  {
    name: 'standby names',
    text: /^SELECT current_setting\('synchronous_standby_names'\) AS standbys$/,
    answer: ({ server }) => [row('standby names', { standbys: server.standbyNames })],
  },
  {
    name: 'publication',
    text: /^select p\.pubviaroot, p\.pubinsert and p\.pubupdate and p\.pubdelete and p\.pubtruncate as publishes_all,/,
    answer: ({ server }) => {
      if (server.publication === null) return []
      const flags = { pubviaroot: 'f', publishes_all: 't' }
      const none = { ...flags, oid: null, rowfilter: null, attnames: null }
      const rows = [...server.published.keys()].map(oid => ({ ...none, oid: String(oid) }))
      return (rows.length === 0 ? [none] : rows).map(each => row('publication', each))
    },
  },
  {
    name: 'create publication',
    text: /^CREATE PUBLICATION "walcache" FOR TABLE (.*) WITH \(/,
    answer: ({ server }, [, tables]) => {
      server.publication ??= server.newAlteration()
      return publish(server, tables!)
    },
  },
  {
    name: 'add to publication',
    text: /^ALTER PUBLICATION "walcache" ADD TABLE (.*)$/,
    answer: ({ server }, [, tables]) => publish(server, tables!),
  },
  { name: 'begin', text: /^begin$/, answer: backend => done(() => backend.begin()) },
  {
    name: 'commit',
    text: /^(?:commit|rollback|COMMIT|ROLLBACK)$/,
    answer: backend => done(() => backend.end()),
  },
  { name: 'set local', text: /^set local (?:lock_timeout|synchronous_commit) = \w+$/, answer: () => [] },
  {
    name: 'fingerprint',
    text: new RegExp(`^SELECT ${anyFingerprint} AS fingerprint, ${maybeFiles} AS files$`),
    answer: ({ server }, [, asked], [oids]) => [
      row('fingerprint', {
        fingerprint: fingerprint(server, oids!),
        files: asked === 'NULL' ? null : files(server, oids!),
      }),
    ],
  },
  {
    name: 'probe',
    text: new RegExp(
      `^SELECT CASE WHEN pg_is_in_recovery\\(\\) THEN '0/0' ELSE pg_current_wal_insert_lsn\\(\\) END AS position, pg_current_snapshot\\(\\) AS snapshot, pg_postmaster_start_time\\(\\) AS started, pg_is_in_recovery\\(\\) AS recovering, ${anyFingerprint} AS fingerprint, ${maybeFiles} AS files, EXISTS \\(SELECT FROM pg_catalog\\.pg_stat_replication WHERE application_name = \\$3 AND sync_state IN \\('sync', 'quorum'\\)\\) AS synchronous$`,
    ),
    answer: probe,
  },
  {
    name: 'writers of a table',
    text: /^SELECT DISTINCT virtualtransaction AS writer FROM pg_catalog\.pg_locks WHERE/,
    answer: ({ server }, _match, [oids]) =>
      [...server.model.runningTransactions]
        .filter(({ written }) => idsIn(oids!).some(oid => written.has(oid)))
        .map(({ xid }) => row('writers of a table', { writer: `5/${xid}` })),
  },
]

function probe(
  { server, snapshot }: Backend,
  [, asked]: RegExpExecArray,
  [oids]: readonly (string | null)[],
) {
  const { model, isStandby } = server
  return [
    row('probe', {
      position: isStandby ? '0/0' : lsnText(model.log.insert),
      snapshot: snapshot.text,
      started: model.startedAt,
      recovering: isStandby ? 't' : 'f',
      fingerprint: fingerprint(server, oids!),
      files: asked === 'NULL' ? null : files(server, oids!),
      synchronous: server.countsAsStandby ? 't' : 'f',
    }),
  ]
}

function done(act: () => void): [] {
  act()
  return []
}

function publish(server: ScriptedServer, list: string): [] {
  for (const { name, oid } of TABLES)
    if (list.includes(`"${name}"`) && !server.published.has(oid)) server.publish(oid)
  return []
}

function serverFacts({ model }: ScriptedServer): object {
  return {
    version: model.versionNumber,
    versionText: `${model.major}.20`,
    walLevel: 'logical',
    encoding: 'UTF8',
    inRecovery: false,
    slotsMax: 10,
    slotsUsed: 0,
    sendersMax: 10,
    sendersUsed: 0,
    ...LOG_SIZES,
    role: 'app',
    superuser: false,
    replicationRole: true,
  }
}

function tableFacts({ name, oid, columns, key, identity }: TableSpec): object {
  const keyColumns = key.map(at => columns[at]!.name)
  const primaryKey = { name: `${name}_pkey`, columns: keyColumns, valid: true, immediate: true }
  return {
    oid,
    schema: 'public',
    name,
    kind: 'r',
    persistence: 'p',
    relreplident: identity === 'full' ? 'f' : 'd',
    rowSecurity: false,
    rowSecurityApplies: false,
    children: [],
    parent: null,
    schemaUsable: true,
    blocks: 1,
    estimatedRows: 100,
    columns: columns.map((column, at) => ({
      attnum: at + 1,
      name: column.name,
      typeOid: TYPE_OIDS[column.type],
      baseTypeOid: TYPE_OIDS[column.type],
      typeModifier: -1,
      typeName: column.type,
      typeKind: 'b',
      notNull: column.notNull,
      attgenerated: '',
      deterministic: true,
      codePointOrder: true,
      enumLabels: null,
      foldsAscii: false,
      hasArrayType: true,
      compositeType: null,
      selectable: true,
    })),
    primaryKey,
    identityIndex: null,
    uniqueKeys: [keyColumns],
  }
}
