/** A column as a comparison refers to it. */
export interface ComparedReference {
  /** Quoted, and qualified where that is needed. */
  readonly reference: string
  readonly hasArrayType: boolean
  readonly compositeType: string | null
}

/** Takes the text of a parameter and gives its place: `$1`. */
export type TakeParameter = (text: string) => string

/** The condition that the column's value and `value` compare so. */
export function comparison(
  column: ComparedReference,
  operator: string,
  value: string,
  take: TakeParameter,
): string {
  return `${column.reference} ${operator} ${take(value)}${cast(column)}`
}

/**
 * The condition that the column has one of the values.
 *
 * One parameter holds them all where they can make an array, so that lists of any length share one text. Of arrays (an `integer[]`, say)
 * PostgreSQL has no array type, and `= ANY` fails.
 */
export function anyOf(column: ComparedReference, values: readonly string[], take: TakeParameter): string {
  const { reference, hasArrayType } = column
  return hasArrayType
    ? `${reference} = ANY (${take(arrayLiteral(values))}${cast(column, '[]')})`
    : `${reference} IN (${values.map(value => take(value)).join(', ')})`
}

// All composites share the operators of record, and a parameter of type record can't be read.
function cast({ compositeType }: ComparedReference, suffix = ''): string {
  return compositeType === null ? '' : `::${compositeType}${suffix}`
}

const SPECIAL = /["\\]/g

/** The values as PostgreSQL's text of an array. */
function arrayLiteral(values: readonly string[]): string {
  return `{${values.map(value => `"${value.replaceAll(SPECIAL, String.raw`\$&`)}"`).join(',')}}`
}
