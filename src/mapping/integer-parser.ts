/** int2, int4 and oid: PostgreSQL's text of them is decimal digits, with a sign or without. */
const INTEGER_OIDS: ReadonlySet<number> = new Set([21, 23, 26])

/** The whole source of a function that gives `parseInt(text, 10)` and does nothing else, as `pg`'s own does. */
const PARSES_INTEGER =
  /^(?:function\s*\w*\s*\(\s*(\w+)\s*\)\s*\{\s*return\s+parseInt\(\s*\1\s*,\s*10\s*\);?\s*\}|\(?\s*(\w+)\s*\)?\s*=>\s*parseInt\(\s*\2\s*,\s*10\s*\))$/

/** What `parseInt` is called in the source may be something else there, which would not give these. */
const SAMPLES = ['0', '7', '-32768', '2147483647']

/**
 * Whether the caller's parser of a column of this type is known to give the integer that the digits are: then the number can be made of the bytes,
 * without a text between, which takes a fifth of the time. Another parser, or one that was wrapped, is called.
 */
export function parsesInteger(parse: (text: string) => unknown, baseTypeOid: number): boolean {
  if (!INTEGER_OIDS.has(baseTypeOid)) return false
  if (parse === Number || parse === parseInt) return true
  return (
    PARSES_INTEGER.test(Function.prototype.toString.call(parse)) &&
    SAMPLES.every(text => parse(text) === Number(text))
  )
}
