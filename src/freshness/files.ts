/**
 * SQL's text of which files the tables are in, which TRUNCATE replaces, and so do VACUUM FULL, CLUSTER and an ALTER TABLE that rewrites.
 * A partitioned table is in those of its partitions. The parameter is the tables' OIDs as an array.
 */
export const FILES_SQL = `(
    WITH RECURSIVE tree (root, relid) AS (
      SELECT root, root FROM unnest($1::oid[]) AS root
      UNION ALL
      SELECT tree.root, h.inhrelid
        FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.relid AND c.relkind = 'p' JOIN pg_catalog.pg_inherits h ON h.inhparent = c.oid)
    SELECT string_agg(concat_ws(' ', tree.root, c.oid, c.relfilenode), ',' ORDER BY tree.root, c.oid)
      FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.relid)`

/** The OIDs of the tables that are in another file, in more or fewer, or gone; both texts are what `FILES_SQL` gave. */
export function tablesInOtherFiles(before: string, now: string): number[] {
  const entries = [before, now].map(text => text.split(',').filter(entry => entry !== ''))
  const [was, is] = entries.map(each => new Set(each)) as [Set<string>, Set<string>]
  const others = entries.flat().filter(entry => !(was.has(entry) && is.has(entry)))
  return [...new Set(others.map(entry => Number.parseInt(entry, 10)))]
}
