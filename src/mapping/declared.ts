import type { SetupProblem } from '../errors.js'
import type { Declaration } from './declaration.js'

/** What a property's decorators say; the class they belong to is not known yet. */
export interface DeclaredField {
  readonly property: string
  readonly role: 'column' | 'key' | 'index'
  readonly column: string | undefined
}

interface Declared {
  /** By the class's prototype (legacy decorators) or its metadata object (standard ones). */
  readonly fields: WeakMap<object, DeclaredField[]>
  /** By class, or by what `defineTable` returned. */
  readonly tables: WeakMap<object, Declaration>
}

/**
 * One registry a process, even if it holds two copies of this library: the entities' package may well have its own.
 * The number rises when the shape of what is kept changes.
 */
const REGISTRY = Symbol.for('walcache.declared.1')

const shared = globalThis as typeof globalThis & { [REGISTRY]?: Declared }

export const declared: Declared = (shared[REGISTRY] ??= { fields: new WeakMap(), tables: new WeakMap() })

/** The declaration behind a class or a `defineTable` result; undefined if it was never declared. */
export function declarationOf(identity: unknown): Declaration | undefined {
  return isObject(identity) ? declared.tables.get(identity) : undefined
}

/** Why `entity`, which `declarationOf` does not know, names no table. */
export function notDeclaredProblem(entity: unknown): SetupProblem {
  return { kind: 'not-declared', message: notDeclared(entity) }
}

function notDeclared(entity: unknown): string {
  if (typeof entity !== 'function') {
    return `an entity is neither a class nor what defineTable returned, but ${entity === null ? 'null' : `of type ${typeof entity}`}.`
  }
  return (
    `class ${entity.name || '(without a name)'} has no @ReplicatedTable of its own. Decorate it; a base class's decoration is not inherited. ` +
    'If another decorator replaces the class, put @ReplicatedTable above it.'
  )
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
