/**
 * A text that changes whenever one of these tables changes in a way that the stream may not tell: altered, dropped, replaced, taken out of
 * the publication. For SQL's `SELECT`; the parameters are the tables' OIDs as an array, and the publication's name.
 *
 * An ALTER TABLE that rewrites the rows sends no message at all, even if the column's type stays the same. It does write the column's row in
 * pg_attribute, whose `xmin` gives it away. The table's file is no part of it: TRUNCATE changes that too, and is in the stream;
 * VACUUM FULL and CLUSTER change it and no row.
 */
export const FINGERPRINT_SQL = `md5(coalesce((
  SELECT string_agg(concat_ws(' ', c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident,
      c.relrowsecurity, c.relispartition, c.relhassubclass,
      (SELECT string_agg(concat_ws(' ', a.xmin, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, a.attisdropped), ',' ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
      (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indkey::text, i.indisprimary, i.indisreplident, i.indisvalid, i.indimmediate), ',' ORDER BY i.indexrelid)
         FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)),
      (SELECT string_agg(concat_ws(' ', e.enumtypid, e.enumlabel, e.enumsortorder), ',' ORDER BY e.enumtypid, e.enumsortorder)
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_enum e ON e.enumtypid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0)), ';' ORDER BY c.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid = ANY ($1::oid[])), '')
  || coalesce((
  SELECT concat_ws(' ', p.oid, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
      (SELECT string_agg(concat_ws(' ', t.schemaname, t.tablename), ',' ORDER BY t.schemaname, t.tablename)
         FROM pg_catalog.pg_publication_tables t JOIN pg_catalog.pg_class c ON c.relname = t.tablename
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = t.schemaname
        WHERE t.pubname = p.pubname AND c.oid = ANY ($1::oid[])))
    FROM pg_catalog.pg_publication p WHERE p.pubname = $2), ''))`
