import { quoteIdentifier, quoteQualified } from './quote.js'

export interface TableToPublish {
  readonly schema: string
  readonly table: string
}

/** The publication that all applications on a database share, whatever their version. */
export const SHARED_PUBLICATION = 'walcache'

/** The four operations: without `truncate` a TRUNCATE would leave all rows behind. */
const PUBLISHED_FLAGS = `publish = 'insert, update, delete, truncate', publish_via_partition_root = false`

export function createPublicationSql(publication: string, tables: readonly TableToPublish[]): string {
  return `CREATE PUBLICATION ${quoteIdentifier(publication)} FOR TABLE ${tableList(tables)} WITH (${PUBLISHED_FLAGS})`
}

export function addTablesSql(publication: string, tables: readonly TableToPublish[]): string {
  return `ALTER PUBLICATION ${quoteIdentifier(publication)} ADD TABLE ${tableList(tables)}`
}

export function dropTablesSql(publication: string, tables: readonly TableToPublish[]): string {
  return `ALTER PUBLICATION ${quoteIdentifier(publication)} DROP TABLE ${tableList(tables)}`
}

export function setFlagsSql(publication: string): string {
  return `ALTER PUBLICATION ${quoteIdentifier(publication)} SET (${PUBLISHED_FLAGS})`
}

/**
 * What a database's owner runs once, so that the application needs no right to create anything: role, grants,
 * publication. The role's password is left to the owner.
 */
export function setupStatements(
  tables: readonly TableToPublish[],
  { role, publication }: { readonly role: string; readonly publication: string },
): string {
  const quotedRole = quoteIdentifier(role)
  const schemas = [...new Set(tables.map(({ schema }) => schema))].map(quoteIdentifier).join(', ')
  return [
    '-- The role that the application connects as; if it exists: ALTER ROLE ... REPLICATION. Give it a password.',
    '-- Managed servers may grant the right to replicate by membership instead.',
    `CREATE ROLE ${quotedRole} LOGIN REPLICATION;`,
    `GRANT USAGE ON SCHEMA ${schemas} TO ${quotedRole};`,
    `GRANT SELECT ON ${tableList(tables)} TO ${quotedRole};`,
    '-- What the change stream carries. Only ever add tables to it: other applications may read it too.',
    `${createPublicationSql(publication, tables)};`,
    '',
  ].join('\n')
}

function tableList(tables: readonly TableToPublish[]): string {
  return tables.map(({ schema, table }) => quoteQualified(schema, table)).join(', ')
}
