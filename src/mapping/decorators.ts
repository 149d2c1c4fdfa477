import { OptionError } from '../errors.js'
import { checkTableOptions, type DeclaredColumn, type Declaration, type TableOptions } from './declaration.js'
import { type DeclaredField, declared } from './declared.js'
import type { EntityClass } from './mapping.js'
import type { Where } from './where-types.js'

// Node has no Symbol.metadata yet, and compilers hand decorators no metadata object without it. This module is evaluated
// before any class that uses its decorators.
;(Symbol as { metadata?: symbol }).metadata ??= Symbol.for('Symbol.metadata')

/** Options of `@Column` and `@PrimaryKey`. */
export interface ColumnOptions {
  /** The column's name in the database; by default the property's, by the table's `naming`. */
  readonly name?: string
}

type IndexedProperty<O extends TableOptions> = O extends {
  readonly indexes: readonly (readonly (infer P)[])[]
}
  ? P & string
  : never

type Constructed<O extends TableOptions> = O extends { readonly construct: (...row: never[]) => infer Row }
  ? Row & object
  : object

/** Refuses what a generic parameter would let through: options that don't exist. */
type NoOthers<O> = { readonly [Option in Exclude<keyof O, keyof TableOptions>]: never }

/** Nothing more of the class if the table's `where` is a condition on its rows; else what no class has. */
type Filtered<O extends TableOptions, C> = O extends { readonly where: infer W extends object }
  ? C extends EntityClass<infer Row>
    ? W extends Where<Row>
      ? Exclude<keyof W, keyof Where<Row>> extends never
        ? unknown
        : { readonly 'where names what is no property of the class': Exclude<keyof W, keyof Where<Row>> }
      : { readonly 'where is no condition on rows of the class': W }
    : never
  : unknown

/** Decorates a class, in TypeScript's legacy mode and in the standard one. */
type TableDecorator<O extends TableOptions> = <
  C extends EntityClass<Constructed<O> & { readonly [P in IndexedProperty<O>]: unknown }>,
>(
  target: C & Filtered<O, C>,
  context?: ClassDecoratorContext<C>,
) => void

/** Decorates an instance's field with a plain name, in both modes. Not a static one, a method or an accessor. */
interface FieldDecorator {
  <T extends object>(target: T extends EntityClass ? never : T, property: string): void
  (
    value: undefined,
    context: ClassFieldDecoratorContext & {
      readonly name: string
      readonly static: false
      readonly private: false
    },
  ): void
}

/**
 * Declares that a class's instances are the rows of a table.
 *
 * Without `@Column` or `@PrimaryKey` the rows have all columns of the table. Types come from the catalogue, never from
 * the compiler's emitted metadata. Fields of base classes count; the decoration itself is not inherited.
 *
 * @throws {OptionError} for options that can't mean anything. What does not fit the database is found when the cache opens.
 */
export function ReplicatedTable<const O extends TableOptions>(options: O & NoOthers<O>): TableDecorator<O> {
  checkTableOptions(options)
  return (target, context) => {
    const key: object = context === undefined ? (target.prototype as object) : metadataOf(context)
    declared.tables.set(target, declarationFor(target, options, fieldsOf(key, target)))
  }
}

/** Declares a property as a column. */
export function Column(options: ColumnOptions = {}): FieldDecorator {
  checkColumnOptions(options)
  return fieldDecorator('column', options.name)
}

/** Declares a property as a column of the primary key. The key must be the one that the database has. */
export function PrimaryKey(options: ColumnOptions = {}): FieldDecorator {
  checkColumnOptions(options)
  return fieldDecorator('key', options.name)
}

/** Declares a secondary index on this property, which has to be a column: queries find rows by it, in memory. Several properties: the table's `indexes`. */
export function Index(): FieldDecorator {
  return fieldDecorator('index', undefined)
}

function checkColumnOptions({ name }: ColumnOptions): void {
  if (name !== undefined && (typeof name !== 'string' || name === '')) {
    throw new OptionError('name', 'give the name of a column: a text that is not empty.')
  }
}

function fieldDecorator(role: DeclaredField['role'], column: string | undefined): FieldDecorator {
  return (target: object | undefined, place: string | FieldContext, descriptor?: unknown): void => {
    const standard = typeof place === 'object'
    const key = standard ? standardKey(place) : legacyKey(target!, place, descriptor)
    const property = standard ? (place.name as string) : place
    const fields = declared.fields.get(key)
    const field: DeclaredField = { property, role, column }
    if (fields === undefined) declared.fields.set(key, [field])
    else fields.push(field)
  }
}

type FieldContext = Pick<ClassMemberDecoratorContext, 'kind' | 'name' | 'static' | 'private' | 'metadata'>

function legacyKey(target: object, property: unknown, descriptor: unknown): object {
  if (typeof property !== 'string') throw notAField(String(property), 'named by a symbol')
  if (typeof target === 'function') throw notAField(property, 'a static member')
  if (descriptor !== undefined) throw notAField(property, 'a method or accessor')
  return target
}

function standardKey(context: FieldContext): object {
  const property = String(context.name)
  if (context.kind !== 'field') throw notAField(property, `a ${context.kind}`)
  if (context.static) throw notAField(property, 'a static member')
  if (context.private || typeof context.name !== 'string')
    throw notAField(property, 'private, or named by a symbol')
  return metadataOf(context)
}

function metadataOf(context: { readonly metadata: object | undefined }): object {
  if (context.metadata === undefined) {
    throw new TypeError(
      'This compiler gives decorators no metadata object. Import walcache before the class is evaluated, ' +
        'or compile with a version that implements decorator metadata, or use defineTable.',
    )
  }
  return context.metadata
}

function notAField(property: string, what: string): TypeError {
  return new TypeError(
    `Property "${property}" can't be a column: it is ${what}. Only fields of the instance are filled from rows.`,
  )
}

/**
 * What the decorators of a class and of its base classes said, base classes first.
 *
 * Prototypes and metadata objects both inherit from the base class's; a base class may be compiled in the other mode,
 * so its own metadata object is looked at too.
 */
function fieldsOf(key: object, target: EntityClass): DeclaredField[] {
  const keys = new Set<object>()
  for (let at: object | null = key; at !== null; at = Object.getPrototypeOf(at) as object | null) keys.add(at)
  for (let at: unknown = target; typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    if (at.prototype !== undefined) keys.add(at.prototype as object)
    const metadata = (at as { [Symbol.metadata]?: object | null })[Symbol.metadata]
    if (metadata != null) keys.add(metadata)
  }
  return [...keys].reverse().flatMap(at => declared.fields.get(at) ?? [])
}

function declarationFor(
  target: EntityClass,
  options: TableOptions,
  fields: readonly DeclaredField[],
): Declaration {
  const columns = new Map<string, DeclaredColumn>()
  for (const { property, role, column } of fields) {
    if (role !== 'index') columns.set(property, { property, column: column ?? columns.get(property)?.column })
  }
  const withRole = (role: DeclaredField['role']): string[] => [
    ...new Set(fields.filter(field => field.role === role).map(field => field.property)),
  ]
  return {
    ...declarationBase(target, target.name, options),
    prototype: target.prototype as object,
    columns: [...columns.values()],
    key: withRole('key'),
    indexes: [...withRole('index').map(property => [property]), ...(options.indexes ?? [])],
  }
}

/** What `TableOptions` alone say, defaults filled in. */
export function declarationBase(
  identity: object,
  label: string,
  options: TableOptions,
): Omit<Declaration, 'prototype' | 'columns' | 'key' | 'indexes'> {
  return {
    identity,
    label,
    schema: options.schema ?? 'public',
    name: options.name,
    naming: options.naming ?? 'exact',
    keep: options.keep ?? 'all',
    where: structuredClone(options.where),
    construct: options.construct ?? null,
    allowRlsBypass: options.allowRlsBypass ?? false,
    maxStaleness: options.maxStaleness,
    onStale: options.onStale,
  }
}
