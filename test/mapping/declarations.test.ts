import { describe, expect, test, vi } from 'vitest'
import { OptionError } from '../../src/errors.js'
import type { TableOptions } from '../../src/mapping/declaration.js'
import { declarationOf } from '../../src/mapping/declared.js'
import { Column, PrimaryKey, ReplicatedTable } from '../../src/mapping/decorators.js'
import { type DefinedTable, defineTable, type TableDefinition } from '../../src/mapping/define-table.js'
import type { TableDeclaration } from '../../src/query/types.js'
import { User as LegacyUser } from '../decorators/legacy/entities.js'

interface User {
  id: number
  email: string
}

test('a table is defined without a class, and its result is frozen', () => {
  const users = defineTable<User>({
    name: 'users',
    naming: 'snake',
    columns: ['id', 'email'],
    key: ['id'],
    indexes: [['email']],
  })
  expect(Object.isFrozen(users)).toBe(true)
  expect(users).toEqual({ schema: 'public', table: 'users' })
  expect(declarationOf(users)).toEqual({
    identity: users,
    label: 'public.users',
    schema: 'public',
    name: 'users',
    naming: 'snake',
    keep: 'all',
    construct: null,
    allowRlsBypass: false,
    prototype: null,
    columns: [
      { property: 'id', column: undefined },
      { property: 'email', column: undefined },
    ],
    key: ['id'],
    indexes: [['email']],
  })
})

test('a definition may name the column of every property', () => {
  const users = defineTable<User>({ name: 'users', columns: { id: 'user_id', email: 'mail' } })
  expect(declarationOf(users)?.columns).toEqual([
    { property: 'id', column: 'user_id' },
    { property: 'email', column: 'mail' },
  ])
})

test('a definition carries the type of its rows', () => {
  const users = defineTable<User>({ name: 'users' })
  const declaration: TableDeclaration<User> = users
  expect(declaration).toBe(users)
  // @ts-expect-error rows of another shape
  const other: DefinedTable<{ id: Date }> = users
  expect(other).toBe(users)
})

test('mistakes in a definition do not compile', () => {
  // @ts-expect-error rows have no property "mail"
  defineTable<User>({ name: 'users', columns: ['mail'] })
  // @ts-expect-error "email" is left out
  defineTable<User>({ name: 'users', columns: { id: 'id' } })
  // @ts-expect-error the key is no property
  defineTable<User>({ name: 'users', key: ['uid'] })
  // @ts-expect-error the index is no property
  defineTable<User>({ name: 'users', indexes: [['mail']] })
  // @ts-expect-error the filter names no property
  defineTable<User>({ name: 'users', where: { mail: 'x' } })
  // @ts-expect-error the filter compares with another type
  defineTable<User>({ name: 'users', where: { id: { in: [true] } } })
  // @ts-expect-error construct makes something else
  defineTable<User>({ name: 'users', construct: () => new Date() })
})

test('two copies of the library know the same entities', async () => {
  const users = defineTable({ name: 'users' })
  vi.resetModules()
  const copy = await import('../../src/mapping/declared.js')
  expect(copy.declarationOf).not.toBe(declarationOf)
  expect(copy.declarationOf(users)).toBe(declarationOf(users))
  expect(copy.declarationOf(LegacyUser)).toBe(declarationOf(LegacyUser))
})

test('a class with standard decorators inherits from one with legacy ones', () => {
  @ReplicatedTable({ name: 'customers', naming: 'snake' })
  class Customer extends LegacyUser {
    @Column() discount!: string
  }
  expect(declarationOf(Customer)?.columns.map(({ property }) => property)).toEqual([
    'createdAt',
    'updatedAt',
    'id',
    'email',
    'isActive',
    'displayName',
    'discount',
  ])
})

test('a property may have several decorators', () => {
  @ReplicatedTable({ name: 'users' })
  class Both {
    @PrimaryKey() @Column({ name: 'user_id' }) id!: number
  }
  expect(declarationOf(Both)).toMatchObject({ columns: [{ property: 'id', column: 'user_id' }], key: ['id'] })
})

test('declaring a class does not change it', () => {
  class Plain {
    id = 1
  }
  const before = Reflect.ownKeys(Plain)
  ReplicatedTable({ name: 'plain' })(Plain)
  expect(Reflect.ownKeys(Plain)).toEqual(before)
  expect(Reflect.ownKeys(Plain.prototype)).toEqual(['constructor'])
})

describe('options that can not mean anything are refused where they stand', () => {
  test.each<[string, unknown]>([
    ['name', {}],
    ['name', { name: '' }],
    ['name', { name: 'a\0' }],
    ['schema', { name: 'x', schema: '' }],
    ['naming', { name: 'x', naming: 'camel' }],
    ['keep', { name: 'x', keep: 'some' }],
    ['keep', { name: 'x', keep: {} }],
    ['keep', { name: 'x', keep: { maxRows: 0 } }],
    ['keep', { name: 'x', keep: { maxRow: 10 } }],
    ['where', { name: 'x', where: 'id > 1' }],
    ['where', { name: 'x', where: [{ id: 1 }] }],
    ['where', { name: 'x', where: { id: () => 1 } }],
    ['where', { name: 'x', where: { id: 1 }, keep: { maxRows: 10 } }],
    ['construct', { name: 'x', construct: 'User' }],
    ['indexes', { name: 'x', indexes: ['email'] }],
    ['indexes', { name: 'x', indexes: [[]] }],
    ['colums', { name: 'x', colums: [] }],
  ])('%s: %j', (option, options) => {
    expect(() => defineTable(options as TableDefinition<object>)).toThrow(
      expect.objectContaining({ option, code: 'CACHE_OPTION' }),
    )
    expect(() => ReplicatedTable(options as TableOptions)).toThrow(OptionError)
  })

  test('a column without a name', () => {
    expect(() => Column({ name: '' })).toThrow(OptionError)
  })
})

describe('what is no field of the instance can not be a column', () => {
  const decorate = Column() as unknown as (target: unknown, place: unknown, descriptor?: unknown) => void
  const metadata = {}
  test.each<[string, unknown, unknown, unknown?]>([
    ['a legacy static member', class {}, 'count'],
    ['a legacy symbol', {}, Symbol('count')],
    ['a legacy method', {}, 'count', { value: () => 1 }],
    ['a method', undefined, { kind: 'method', name: 'count', static: false, private: false, metadata }],
    ['an accessor', undefined, { kind: 'accessor', name: 'count', static: false, private: false, metadata }],
    ['a static field', undefined, { kind: 'field', name: 'count', static: true, private: false, metadata }],
    ['a private field', undefined, { kind: 'field', name: '#count', static: false, private: true, metadata }],
    [
      'a symbol',
      undefined,
      { kind: 'field', name: Symbol('count'), static: false, private: false, metadata },
    ],
  ])('%s', (_, target, place, descriptor) => {
    expect(() => decorate(target, place, descriptor)).toThrow(/count/)
  })

  test('nor is a compiler that gives no metadata object left unnoticed', () => {
    expect(() => decorate(undefined, { kind: 'field', name: 'a', static: false, private: false })).toThrow(
      /defineTable/,
    )
  })
})
