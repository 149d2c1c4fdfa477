import type { SetupProblem } from '../errors.js'

/** What of the caller's session decides how values read as text, and what operators mean. */
export interface CallerSession {
  readonly dateStyle: string
  readonly intervalStyle: string
  readonly byteaOutput: string
  readonly extraFloatDigits: string
  readonly timeZone: string
  readonly lcMonetary: string
  /** The schemas in its search path that are there and that it may use, quoted: "$user" is another schema to another role. */
  readonly searchPath: string
}

/** Run on a client of the caller's pool, its one row is a `CallerSession`. */
export const CALLER_SESSION_SQL = `select
  current_setting('DateStyle') as "dateStyle",
  current_setting('IntervalStyle') as "intervalStyle",
  current_setting('bytea_output') as "byteaOutput",
  current_setting('extra_float_digits') as "extraFloatDigits",
  current_setting('TimeZone') as "timeZone",
  current_setting('lc_monetary') as "lcMonetary",
  coalesce((
    select string_agg(quote_ident(schema), ', ' order by place)
    from unnest(current_schemas(false)) with ordinality as path(schema, place)
    where schema !~ '^pg_temp_'), '""') as "searchPath"`

/** Under these settings `pg` itself misreads values (it gives null for dates), so there is no answer to be equal to. */
export function sessionProblems({ dateStyle, byteaOutput }: CallerSession): SetupProblem[] {
  const problems: SetupProblem[] = []
  if (!dateStyle.startsWith('ISO')) {
    problems.push({
      kind: 'date-style',
      message:
        `the pool's sessions have DateStyle "${dateStyle}", in which pg reads every date as null or as another day. ` +
        'Set it to ISO for the role or database, or in the pool: options: "-c datestyle=ISO".',
    })
  }
  if (byteaOutput !== 'hex') {
    problems.push({
      kind: 'bytea-output',
      message:
        `the pool's sessions have bytea_output "${byteaOutput}". ` +
        'Set it to hex for the role or database, or in the pool: options: "-c bytea_output=hex".',
    })
  }
  return problems
}

/** Settings under which a SELECT on the caller's pool reads otherwise than the same row from memory. */
export function sessionWarnings({ intervalStyle, extraFloatDigits }: CallerSession): string[] {
  const warnings: string[] = []
  if (intervalStyle !== 'postgres') {
    warnings.push(
      `The pool's sessions have IntervalStyle "${intervalStyle}", which pg can't read; rows from memory have their intervals as under "postgres".`,
    )
  }
  if (Number(extraFloatDigits) < 1) {
    warnings.push(
      `The pool's sessions have extra_float_digits ${extraFloatDigits}, which rounds float4 and float8; rows from memory have all digits.`,
    )
  }
  return warnings
}

/** Names of the zone whose offset has always been `+00`: as the time zone database has them, in any case. */
const UTC = /^(?:etc\/)?(?:utc|uct|universal|zulu|gmt|gmt[+-]?0|greenwich)$/i

/** Whether the text of every timestamptz ends in `+00`. */
export function isUtc({ timeZone }: Pick<CallerSession, 'timeZone'>): boolean {
  return UTC.test(timeZone)
}
