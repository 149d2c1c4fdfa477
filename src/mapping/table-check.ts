import type { Assumptions, DecoderLimits, LostTypes } from '../change/limits.js'
import type { SetupProblem } from '../errors.js'
import { quoteIdentifier, quoteQualified } from '../sql/quote.js'
import type { CatalogColumn, CatalogTable } from './catalog.js'
import type { Declaration } from './declaration.js'

/** A problem of a table that is already named. */
export type TableProblem = Omit<SetupProblem, 'table'>

/** The first OID that is not the system's own (FirstNormalObjectId). */
const FIRST_USER_OID = 16384

const KINDS: Readonly<Record<string, string>> = {
  v: 'a view: declare the tables behind it',
  m: 'a materialised view, and its refreshes are not in the change stream: declare the tables behind it',
  f: 'a foreign table, and its changes are made elsewhere',
}

/** What is wrong with the table itself, whichever of its columns are mapped. */
export function tableProblems(table: CatalogTable, declaration: Declaration): TableProblem[] {
  const problems: TableProblem[] = []
  const add = (kind: string, message: string): void => void problems.push({ kind, message })
  const sql = quoteQualified(table.schema, table.name)
  if (table.kind !== 'r' && table.kind !== 'p') {
    add('table-kind', `this is ${KINDS[table.kind] ?? 'not a table'}.`)
    return problems
  }
  if (table.oid < FIRST_USER_OID) {
    add('system-table', 'this is a table of the system: PostgreSQL does not stream its changes.')
    return problems
  }
  if (table.persistence !== 'p') {
    const what = table.persistence === 'u' ? 'unlogged' : 'temporary'
    add(
      'table-persistence',
      `this table is ${what}, so its changes are not in the log. ${what === 'unlogged' ? `ALTER TABLE ${sql} SET LOGGED;` : 'Use an ordinary one.'}`,
    )
  }
  if (table.kind === 'r' && table.children.length > 0) {
    add(
      'inherited-table',
      `other tables inherit from this one (${table.children.slice(0, 3).join(', ')}): a SELECT shows their rows too, the change stream does not. Declare the inheriting tables instead.`,
    )
  }
  if (table.rowSecurity && !declaration.allowRlsBypass) {
    add(
      'row-security',
      'this table has row-level security, which the change stream ignores: every row would be kept, and shown to every reader. If that is meant, declare it with allowRlsBypass: true.',
    )
  } else if (table.rowSecurityApplies) {
    add(
      'row-security-applies',
      'policies hide rows of this table from the role, so it could not be loaded whole. Let a superuser run ALTER ROLE ... BYPASSRLS for it.',
    )
  }
  if (!table.schemaUsable) {
    add(
      'no-schema-right',
      `the role may not look into the schema. GRANT USAGE ON SCHEMA ${quoteIdentifier(table.schema)} TO it.`,
    )
  }
  problems.push(...keyProblems(table))
  return problems
}

/** Rows are found by their primary key, in the change stream too: it has to be there, immediate, and what old rows are logged by. */
function keyProblems({
  schema,
  name,
  kind,
  primaryKey,
  identityIndex,
  replicaIdentity,
}: CatalogTable): TableProblem[] {
  const sql = quoteQualified(schema, name)
  if (primaryKey === null) {
    return [
      {
        kind: 'no-primary-key',
        message: `this table has no primary key, so its rows can't be told apart. ALTER TABLE ${sql} ADD PRIMARY KEY (...);`,
      },
    ]
  }
  const problems: TableProblem[] = []
  if (!primaryKey.immediate) {
    problems.push({
      kind: 'deferrable-primary-key',
      message: `the primary key "${primaryKey.name}" is deferrable: within a transaction two rows may have one key, and PostgreSQL does not log old rows by it. Make it NOT DEFERRABLE.`,
    })
  }
  if (kind === 'p') {
    // As ALTER TABLE ONLY leaves it. What old rows are logged by is each leaf's own affair.
    if (!primaryKey.valid)
      problems.push({
        kind: 'no-primary-key',
        message: `the primary key "${primaryKey.name}" is not complete: there are partitions without it. ALTER INDEX ... ATTACH PARTITION theirs.`,
      })
    return problems
  }
  if (replicaIdentity === 'nothing') {
    problems.push({
      kind: 'replica-identity',
      message: `this table has REPLICA IDENTITY NOTHING, so the change stream does not say which row an UPDATE or DELETE means. ALTER TABLE ${sql} REPLICA IDENTITY DEFAULT;`,
    })
  }
  if (
    replicaIdentity === 'index' &&
    !(identityIndex?.valid && sameNames(identityIndex.columns, primaryKey.columns))
  ) {
    const index = identityIndex === null ? 'an index that is gone' : `the index "${identityIndex.name}"`
    problems.push({
      kind: 'replica-identity',
      message: `the replica identity is ${index} and not the primary key, so a changed primary key would leave the old row behind. ALTER TABLE ${sql} REPLICA IDENTITY DEFAULT; (or FULL)`,
    })
  }
  return problems
}

/** What else can be done about a type that is lost only in part. */
const MENDED: Readonly<Record<NonNullable<LostTypes['mendedBy']>, string>> = {
  finite: ', or, if neither is ever stored in it, open the cache with assumeFinite: true',
  utc: ", or let the pool's sessions have TimeZone UTC",
}

/** What is wrong with one mapped column. */
export function columnProblems(
  column: CatalogColumn,
  property: string,
  table: CatalogTable,
  limits: DecoderLimits,
  assumed: Assumptions,
): TableProblem[] {
  const problems: TableProblem[] = []
  const add = (kind: string, message: string): void =>
    void problems.push({ kind, property, column: column.name, message })
  if (column.generated === 'virtual' || (column.generated === 'stored' && !limits.generatedStored)) {
    add(
      'generated-column',
      `this ${column.generated} generated column is not in ${limits.decoder}'s change stream, so memory would keep its first value. Leave it out: declare the other columns by name, and compute it in a getter.`,
    )
  }
  const lost = limits.lostTypes.find(({ oids }) => oids.includes(column.typeOid))
  if (lost !== undefined && !(lost.mendedBy !== null && assumed[lost.mendedBy])) {
    const otherwise = lost.mendedBy === null ? '' : MENDED[lost.mendedBy]
    add(
      'decoder-type',
      `${limits.decoder} can't carry ${column.typeName}: it sends ${lost.why}. Use decoder 'pgoutput', or leave the column out${otherwise}.`,
    )
  }
  if (!column.selectable) {
    add(
      'no-select-right',
      `the role may not read it. GRANT SELECT ON ${quoteQualified(table.schema, table.name)} TO it.`,
    )
  }
  return problems
}

export function sameNames(a: readonly string[], b: readonly string[]): boolean {
  const names = new Set(a)
  return names.size === new Set(b).size && b.every(name => names.has(name))
}
