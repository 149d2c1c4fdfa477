import { declarationOf } from '../../src/mapping/declared.js'

/** What each exported class declares, as plain data: null if it is no table. */
export function shape(entities: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const names = Object.keys(entities).sort()
  return Object.fromEntries(names.map(name => [name, shapeOf(entities[name])]))
}

function shapeOf(entity: unknown): unknown {
  const declaration = declarationOf(entity)
  if (declaration === undefined) return null
  const { identity, prototype, construct, columns, ...rest } = declaration
  return {
    ...rest,
    ownIdentity: identity === entity,
    ownPrototype: prototype === (entity as { prototype: unknown }).prototype,
    constructs: construct !== null,
    columns: columns.map(({ property, column }) => [property, column ?? null]),
  }
}

const common = {
  schema: 'public',
  naming: 'snake',
  keep: 'all',
  allowRlsBypass: false,
  ownIdentity: true,
  ownPrototype: true,
  constructs: false,
}

/** What every compiler has to make of the entities. */
export const expectedShape: Record<string, unknown> = {
  Admin: {
    ...common,
    label: 'Admin',
    name: 'admins',
    schema: 'staff',
    columns: [
      ['createdAt', null],
      ['updatedAt', null],
      ['id', null],
      ['email', 'mail'],
      ['isActive', null],
      ['displayName', 'shown_as'],
      ['level', null],
    ],
    key: ['id'],
    indexes: [['email']],
  },
  Guest: null,
  Log: { ...common, label: 'Log', name: 'Logs', naming: 'exact', columns: [], key: [], indexes: [] },
  Member: {
    ...common,
    label: 'Member',
    name: 'members',
    naming: 'exact',
    allowRlsBypass: true,
    columns: [
      ['teamId', 'team_id'],
      ['userId', null],
    ],
    key: ['teamId', 'userId'],
    indexes: [['userId']],
  },
  Secret: {
    ...common,
    label: 'Secret',
    name: 'secrets',
    naming: 'exact',
    constructs: true,
    columns: [],
    key: [],
    indexes: [],
  },
  Timestamps: null,
  User: {
    ...common,
    label: 'User',
    name: 'users',
    columns: [
      ['createdAt', null],
      ['updatedAt', null],
      ['id', null],
      ['email', null],
      ['isActive', null],
      ['displayName', 'shown_as'],
    ],
    key: ['id'],
    indexes: [['email'], ['email', 'isActive']],
  },
}
