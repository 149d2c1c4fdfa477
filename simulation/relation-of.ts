import type pg from 'pg'
import type { Relation, RelationColumn, ReplicaIdentity } from '../src/change/relation.js'
import { qualifiedName } from './sql.js'

/** What names a table, and its rows. */
export interface KeyedTable {
  readonly schema: string
  readonly name: string
  readonly identity: ReplicaIdentity
  readonly key: readonly string[]
}

/** The table as the catalogue has it. */
export async function relationOf(pool: pg.Pool, table: KeyedTable): Promise<Relation> {
  const { rows } = await pool.query<Omit<RelationColumn, 'isKey'> & { oid: number }>(
    `select attrelid::int8::int as oid, attname as name, atttypid::int8::int as "typeOid", atttypmod as "typeModifier"
       from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`,
    [qualifiedName(table)],
  )
  return {
    oid: rows[0]!.oid,
    schema: table.schema,
    name: table.name,
    replicaIdentity: table.identity,
    columns: rows.map(({ name, typeOid, typeModifier }) => ({
      name,
      typeOid,
      typeModifier,
      isKey: table.key.includes(name),
    })),
  }
}
