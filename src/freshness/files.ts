/**
 * SQL's text of which files the tables are in, which TRUNCATE replaces, and so do VACUUM FULL, CLUSTER and an ALTER TABLE that rewrites.
 * The parameter is the tables' OIDs as an array.
 */
export const FILES_SQL = `(SELECT string_agg(concat_ws(' ', c.oid, c.relfilenode), ',' ORDER BY c.oid)
    FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[]))`

/** The OIDs of the tables that are in another file, or gone; both texts are what `FILES_SQL` gave. */
export function tablesInOtherFiles(before: string, now: string): number[] {
  const same = new Set(now.split(','))
  return before
    .split(',')
    .filter(entry => !same.has(entry))
    .map(entry => Number.parseInt(entry, 10))
}
