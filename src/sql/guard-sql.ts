import { quoteIdentifier, quoteLiteral, quoteQualified } from './quote.js'

/** The prefix of the messages by which a database tells that it was altered. */
export const GUARD_PREFIX = 'walcache.ddl'

/** Stands for whatever there is, in such a message. */
const ALL = '*'
/** A list of tables that is longer than this is not sent, but `ALL`. */
const CONTENT_BYTES_MAX = 8_000

const FUNCTION = 'walcache_tell_ddl'
const TRIGGERS = { walcache_tell_ddl: 'ddl_command_end', walcache_tell_drop: 'sql_drop' } as const

/** Options of `guardSql` and `removeGuardSql`. */
export interface GuardOptions {
  /** Where its function is put. Default `public`. */
  readonly schema?: string
}

/**
 * SQL, to be run once by a superuser, after which the database itself tells of DDL, within the transaction that does it. Caches then notice it at
 * its place among the commits, and not with their next probe. To run it again does no harm.
 *
 * What it tells with are event triggers, which only a superuser may make (in 14 to 18 alike). They never make a statement fail.
 *
 * @throws {TypeError} for a schema that can't be a name.
 */
export function guardSql({ schema = 'public' }: GuardOptions = {}): string {
  const name = quoteQualified(schema, FUNCTION)
  const triggers = Object.entries(TRIGGERS).flatMap(([trigger, event]) => [
    `DROP EVENT TRIGGER IF EXISTS ${quoteIdentifier(trigger)};`,
    `CREATE EVENT TRIGGER ${quoteIdentifier(trigger)} ON ${event} EXECUTE FUNCTION ${name}();`,
    `ALTER EVENT TRIGGER ${quoteIdentifier(trigger)} ENABLE ALWAYS;`,
  ])
  return [
    `CREATE OR REPLACE FUNCTION ${name}() RETURNS event_trigger`,
    'LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $walcache$',
    BODY,
    '$walcache$;',
    ...triggers,
    '',
  ].join('\n')
}

/** SQL that takes away what `guardSql` with the same options has made; caches then notice DDL with their probes, as before. */
export function removeGuardSql({ schema = 'public' }: GuardOptions = {}): string {
  return [
    ...Object.keys(TRIGGERS).map(trigger => `DROP EVENT TRIGGER IF EXISTS ${quoteIdentifier(trigger)};`),
    `DROP FUNCTION IF EXISTS ${quoteQualified(schema, FUNCTION)}();`,
    '',
  ].join('\n')
}

/** Whether a message with this content is about one of the tables that `isOurs` knows, by their OIDs. What is not understood may be. */
export function guardConcerns(content: Uint8Array, isOurs: (oid: number) => boolean): boolean {
  if (content.length > CONTENT_BYTES_MAX) return true
  const oids = Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1').split(',')
  return oids.some(oid => !/^\d{1,10}$/.test(oid) || isOurs(Number(oid)))
}

// A type, a publication or a schema may concern any table. The parents of a new table are concerned as well: its rows are theirs.
const BODY = `DECLARE
  concerned text;
BEGIN
  IF tg_event = 'sql_drop' THEN
    SELECT string_agg(DISTINCT CASE object_type WHEN 'table' THEN objid::text ELSE '${ALL}' END, ',') INTO concerned
      FROM pg_event_trigger_dropped_objects()
     WHERE NOT is_temporary AND object_type IN ('table', 'publication', 'publication relation', 'publication namespace');
  ELSE
    SELECT string_agg(DISTINCT concerns, ',') INTO concerned
      FROM (SELECT command.*, coalesce(schema_name, '') = 'pg_temp' AS is_temporary FROM pg_event_trigger_ddl_commands() command) each
     CROSS JOIN LATERAL (
       SELECT objid::text WHERE classid = 'pg_class'::regclass AND command_tag IN ('ALTER TABLE', 'CREATE TABLE', 'CREATE TABLE AS')
       UNION ALL
       SELECT inhparent::text FROM pg_inherits WHERE classid = 'pg_class'::regclass AND inhrelid = objid
       UNION ALL
       SELECT '${ALL}' WHERE command_tag IN ('ALTER TYPE', 'ALTER DOMAIN', 'ALTER SCHEMA', 'CREATE PUBLICATION', 'ALTER PUBLICATION')) AS tables (concerns)
     WHERE NOT is_temporary;
  END IF;
  IF length(concerned) > ${CONTENT_BYTES_MAX} THEN
    concerned := '${ALL}';
  END IF;
  IF concerned IS NOT NULL THEN
    PERFORM pg_logical_emit_message(true, ${quoteLiteral(GUARD_PREFIX)}, concerned);
  END IF;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'walcache was not told of this change, and notices it with its next probe: %', sqlerrm;
END`
