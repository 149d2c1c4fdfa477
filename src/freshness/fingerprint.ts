/** `server_version_num` of PostgreSQL 15, the first in which a publication may carry a schema. */
const SCHEMA_PUBLICATIONS = 150_000

/**
 * A text that changes whenever one of these tables changes in a way that the stream may not tell: altered, dropped, replaced, taken out of
 * the publication, even if it was put back. For SQL's `SELECT`; the parameters are the tables' OIDs as an array, and the publication's name.
 *
 * An ALTER TABLE that rewrites the rows sends no message at all, even if the column's type stays the same. It does write the column's row in
 * pg_attribute, whose `xmin` gives it away; so does what publishes the table. The table's file is no part of it: TRUNCATE changes that too,
 * and is in the stream; VACUUM FULL and CLUSTER change it and no row.
 *
 * Only catalogues are read: pg_publication_tables would open the tables, and wait for whoever has locked one.
 */
export function fingerprintSql(serverVersion: number): string {
  const schemas =
    serverVersion < SCHEMA_PUBLICATIONS
      ? ''
      : `, (SELECT string_agg(concat_ws(' ', s.oid, s.xmin), ',' ORDER BY s.oid) FROM pg_catalog.pg_publication_namespace s
             WHERE s.pnpubid = p.oid AND s.pnnspid IN (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[])))`
  return `md5(concat_ws('|', (${TABLES}), (${TYPES}), (
    SELECT concat_ws(' ', p.oid, p.xmin,
        (SELECT string_agg(concat_ws(' ', r.oid, r.xmin), ',' ORDER BY r.oid) FROM pg_catalog.pg_publication_rel r
          WHERE r.prpubid = p.oid AND r.prrelid = ANY ($1::oid[]))${schemas})
      FROM pg_catalog.pg_publication p WHERE p.pubname = $2)))`
}

const TABLES = `
  SELECT string_agg(concat_ws(' ', c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident,
      c.relrowsecurity, c.relispartition, c.relhassubclass,
      (SELECT string_agg(concat_ws(' ', a.xmin, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, a.attisdropped), ',' ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
      (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indkey::text, i.indisprimary, i.indisreplident, i.indisvalid, i.indimmediate), ',' ORDER BY i.indexrelid)
         FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident))), ';' ORDER BY c.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid = ANY ($1::oid[])`

// What the stored rows of these types look like as text: an enum's labels, a composite's columns, also behind an array, a domain or a range.
const TYPES = `
  WITH RECURSIVE used(oid) AS (
    SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0
    UNION
    SELECT part.oid FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid
     CROSS JOIN LATERAL (
       SELECT t.typelem AS oid UNION ALL SELECT t.typbasetype
       UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0
       UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE t.oid IN (g.rngtypid, g.rngmultitypid)) part
     WHERE part.oid <> 0)
  SELECT concat_ws(' ',
    (SELECT string_agg(concat_ws(' ', e.enumtypid, e.enumlabel, e.enumsortorder), ',' ORDER BY e.enumtypid, e.enumsortorder)
       FROM pg_catalog.pg_enum e WHERE e.enumtypid IN (SELECT used.oid FROM used)),
    (SELECT string_agg(concat_ws(' ', a.xmin, a.attrelid, a.attnum), ',' ORDER BY a.attrelid, a.attnum)
       FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
      WHERE t.typtype = 'c' AND t.oid IN (SELECT used.oid FROM used)))`
