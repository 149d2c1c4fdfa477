/** `server_version_num` of PostgreSQL 15, the first in which a publication may carry a schema. */
const SCHEMA_PUBLICATIONS = 150_000

/** A text for each table, by its OID, and one for the publication. */
export type Fingerprint = Readonly<Record<string, string | null>>

/** The publication's place in a `Fingerprint`. */
const PUBLICATION = 'publication'

/** Reads what `fingerprintSql` gives. */
export function parseFingerprint(text: string): Fingerprint {
  return JSON.parse(text) as Fingerprint
}

/** Whether the publication is the same: which operations it carries, that it was not dropped and made again. */
export function samePublication(one: Fingerprint, other: Fingerprint): boolean {
  return one[PUBLICATION] === other[PUBLICATION]
}

/**
 * A text for each of these tables that changes whenever that table changes in a way that the stream may not tell: altered, dropped, taken out of
 * the publication, even if it was put back, or given other partitions, even if they were given back; all as one JSON object, see `parseFingerprint`. For SQL's `SELECT`; the parameters are the tables'
 * OIDs as an array, and the publication's name.
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
      ? 'NULL'
      : `(SELECT concat_ws(' ', s.oid, s.xmin) FROM pg_catalog.pg_publication_namespace s
           WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)`
  return `(
    WITH RECURSIVE ${TYPES}, ${PARTITIONS}
    SELECT json_object_agg(name, hash) FROM (
      SELECT c.oid::text AS name, md5(concat_ws('|', ${TABLE}, labels.text, parts.text, r.oid, r.xmin, ${schemas}, partitions.text)) AS hash
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN labels ON labels.relid = c.oid LEFT JOIN parts ON parts.relid = c.oid
        LEFT JOIN partitions ON partitions.root = c.oid
        LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $2
        LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
       WHERE c.oid = ANY ($1::oid[])
      UNION ALL
      SELECT '${PUBLICATION}', (SELECT concat_ws(' ', p.oid, p.xmin) FROM pg_catalog.pg_publication p WHERE p.pubname = $2)) AS each)`
}

const IDENTITY = `c.relkind, c.relpersistence, c.relreplident,
  (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indkey::text, i.indisprimary, i.indisreplident, i.indisvalid, i.indimmediate), ',' ORDER BY i.indexrelid)
     FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident))`

const TABLE = `concat_ws(' ', n.nspname, c.relname, ${IDENTITY}, c.relrowsecurity, c.relispartition, c.relhassubclass,
  (SELECT string_agg(concat_ws(' ', a.xmin, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, a.attisdropped), ',' ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0))`

// Every partition at any depth: that it is attached since then (the row in pg_inherits is another one if it was detached meanwhile), and what its changes
// are logged by. Its columns are its root's, and can't be altered alone. A declared partition that is not published itself is with what it is part of.
const PARTITIONS = `
  below(root, relid, link) AS (
    SELECT root, root, NULL::text FROM unnest($1::oid[]) AS root
    UNION ALL
    SELECT below.root, h.inhrelid, concat_ws(' ', h.xmin, h.inhparent, h.inhdetachpending)
      FROM below JOIN pg_catalog.pg_class c ON c.oid = below.relid AND c.relkind = 'p' JOIN pg_catalog.pg_inherits h ON h.inhparent = c.oid),
  above(leaf, relid, link) AS (
    SELECT leaf, leaf, NULL::text FROM unnest($1::oid[]) AS leaf
    UNION ALL
    SELECT above.leaf, h.inhparent, concat_ws(' ', h.xmin, h.inhparent, h.inhdetachpending)
      FROM above JOIN pg_catalog.pg_class c ON c.oid = above.relid AND c.relispartition JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid),
  partitions AS (
    SELECT each.root, string_agg(concat_ws(' ', c.oid, each.link, n.nspname, c.relname, ${IDENTITY}, r.oid, r.xmin), ',' ORDER BY c.oid) AS text
      FROM (
        SELECT * FROM below
        UNION ALL
        SELECT * FROM above WHERE NOT EXISTS (
          SELECT FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname = $2 AND r.prrelid = above.leaf)) AS each
      JOIN pg_catalog.pg_class c ON c.oid = each.relid AND each.link IS NOT NULL JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $2
      LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
     GROUP BY each.root)`

// What the stored rows of these types look like as text: an enum's labels, a composite's columns, also behind an array, a domain or a range.
const TYPES = `
  used(relid, oid) AS (
    SELECT a.attrelid, a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0
    UNION
    SELECT used.relid, part.oid FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid
     CROSS JOIN LATERAL (
       SELECT t.typelem AS oid UNION ALL SELECT t.typbasetype
       UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0
       UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE t.oid IN (g.rngtypid, g.rngmultitypid)) part
     WHERE part.oid <> 0),
  labels AS (
    SELECT used.relid, string_agg(concat_ws(' ', e.enumtypid, e.enumlabel, e.enumsortorder), ',' ORDER BY e.enumtypid, e.enumsortorder) AS text
      FROM used JOIN pg_catalog.pg_enum e ON e.enumtypid = used.oid GROUP BY used.relid),
  parts AS (
    SELECT used.relid, string_agg(concat_ws(' ', a.xmin, a.attrelid, a.attnum), ',' ORDER BY a.attrelid, a.attnum) AS text
      FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid AND t.typtype = 'c'
      JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 GROUP BY used.relid)`
