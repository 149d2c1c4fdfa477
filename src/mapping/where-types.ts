/** One value of a key: what `pg` gives for the column, or its text. */
export type KeyValue = string | number | bigint | boolean | Date | Uint8Array

/** The properties that a query may name: columns, and no methods. */
export type Property<Row> = {
  [P in keyof Row]-?: Row[P] extends (...args: never[]) => unknown ? never : P
}[keyof Row] &
  string

/** What a column's values may be compared with: what `pg` gives for them, or their text. No null: that is `equals: null`. */
export type Operand<Value> = unknown extends Value ? KeyValue : OperandOf<NonNullable<Value>>

type OperandOf<Value> = Value extends string
  ? Value | (string extends Value ? number | bigint | Date : never)
  : Value extends number
    ? Value | (number extends Value ? bigint | string : never)
    : Value extends boolean | bigint
      ? Value
      : Value extends Date
        ? Date | string
        : Value extends Uint8Array
          ? Uint8Array
          : string

/**
 * Conditions on one column, all of which hold, with SQL's three-valued logic: NULL is neither equal nor unequal to anything.
 *
 * `not: null` is IS NOT NULL. `in: []` holds for no row, `notIn: []` for all. `startsWith`, `endsWith` and `contains` are for texts; `%` and
 * `_` in them stand for themselves.
 */
export interface Filter<Value> {
  readonly equals?: Operand<Value> | null
  readonly not?: Operand<Value> | null | Filter<Value>
  readonly in?: readonly Operand<Value>[]
  readonly notIn?: readonly Operand<Value>[]
  readonly lt?: Operand<Value>
  readonly lte?: Operand<Value>
  readonly gt?: Operand<Value>
  readonly gte?: Operand<Value>
  readonly startsWith?: string
  readonly endsWith?: string
  readonly contains?: string
}

/**
 * Which rows are meant: those for which all of it is true. A value stands for `equals`.
 *
 * `AND: []` and `NOT: []` hold for all rows, `OR: []` for none. A property with the value `undefined`, or one that is not a column, is a
 * QueryError and never a condition that is left out.
 */
export type Where<Row> =
  string extends Property<Row>
    ? AnyWhere
    : {
        readonly [P in Property<Row>]?: Operand<Row[P]> | null | Filter<Row[P]>
      } & {
        readonly AND?: Where<Row> | readonly Where<Row>[]
        readonly OR?: readonly Where<Row>[]
        /** None of them is true. */
        readonly NOT?: Where<Row> | readonly Where<Row>[]
      }

/** The same for rows whose properties are not known to the compiler. */
export interface AnyWhere {
  readonly [property: string]: KeyValue | null | Filter<unknown> | AnyWhere | readonly AnyWhere[]
}
