/**
 * `name` as a quoted SQL identifier, safe in any statement, replication commands included.
 *
 * It is not shortened: PostgreSQL would cut it at 63 bytes, so look names up in the catalogue before quoting them.
 *
 * @throws {TypeError} for an empty name or one with a NUL, which no identifier can be.
 * @see https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
 */
export function quoteIdentifier(name: string): string {
  if (name === '') throw new TypeError('An SQL identifier cannot be empty.')
  refuseNul(name)
  return `"${name.replaceAll('"', '""')}"`
}

/** `"schema"."name"`. */
export function quoteQualified(schema: string, name: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
}

/**
 * `text` as an SQL string literal, whatever `standard_conforming_strings` says.
 *
 * Not for replication commands: their grammar knows no `E''` and takes a backslash as it is.
 *
 * @throws {TypeError} for a text with a NUL, which PostgreSQL's text can't hold.
 */
export function quoteLiteral(text: string): string {
  refuseNul(text)
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}

function refuseNul(text: string): void {
  if (text.includes('\0')) throw new TypeError('PostgreSQL has no text with a NUL character in it.')
}
