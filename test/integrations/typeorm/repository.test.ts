import {
  Any,
  And,
  ArrayContains,
  Between,
  DataSource,
  EntityNotFoundError,
  Equal,
  type FindManyOptions,
  type FindOptionsWhere,
  ILike,
  In,
  IsNull,
  LessThan,
  LessThanOrEqual,
  Like,
  type LoadEvent,
  type EntitySubscriberInterface,
  MoreThan,
  MoreThanOrEqual,
  Not,
  type ObjectLiteral,
  Or,
  Raw,
  type Repository,
} from 'typeorm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cache, openCache, OptionError, TableReloadingError } from '../../../src/index.js'
import {
  cachedRepository,
  type CachedRepository,
  patchRepository,
  poolOf,
  tablesOf,
} from '../../../src/integrations/typeorm/index.js'
import { caughtUp } from '../../support/cache.js'
import { testDatabase, type TestDatabase } from '../../support/servers.js'
import { entities, Grant, Member, Notice, Team } from './entities.js'

let db: TestDatabase
let dataSource: DataSource
let cache: Cache
let members: CachedRepository<Member>
let grants: CachedRepository<Grant>

class LoadCounter implements EntitySubscriberInterface<Team> {
  loaded = 0
  listenTo(): typeof Team {
    return Team
  }
  afterLoad(_team: Team, event?: LoadEvent<Team>): void {
    if (event?.queryRunner !== undefined) this.loaded++
  }
}
const subscriber = new LoadCounter()

beforeAll(async () => {
  db = await testDatabase()
  dataSource = await new DataSource({
    type: 'postgres',
    url: db.url,
    entities,
    synchronize: true,
    poolSize: 4,
  }).initialize()
  dataSource.subscribers.push(subscriber)
  await fill(dataSource)
  cache = await openCache({ pool: poolOf(dataSource), entities: tablesOf(dataSource, entities) })
  members = cachedRepository(dataSource.getRepository(Member), cache)
  grants = cachedRepository(dataSource.getRepository(Grant), cache)
})

afterAll(async () => {
  await cache.close()
  await dataSource.destroy()
})

async function fill({ manager }: DataSource): Promise<void> {
  const teams = await manager.save([1, 2, 3].map(n => manager.create(Team, { name: `Team ${n}` })))
  const made = Array.from({ length: 24 }, (_, i) =>
    manager.create(Member, {
      email: `member${i}@example.com`,
      nickname: i % 3 === 0 ? null : `nick_${i}%`,
      passwordHash: `hash ${i}`,
      salary: i % 5 === 0 ? null : 1000.25 + i,
      motto: `MOTTO ${i % 4}!`,
      address: {
        street: i % 2 === 0 ? `Street ${i}` : null,
        place: { city: i % 4 === 0 ? null : `City ${i % 3}`, country: i % 6 === 0 ? null : 'Land' },
      },
      role: ['admin', 'member', 'guest'][i % 3]!,
      tags: i % 4 === 0 ? [] : ['a', `b${i}`],
      settings: i % 2 === 0 ? null : { theme: `theme ${i}` },
      profile: i % 2 === 0 ? null : { likes: ['tea', `thing ${i}`], deep: { n: i } },
      scores: i % 3 === 0 ? null : [i, i + 1],
      birthday: i % 3 === 0 ? null : `19${70 + i}-02-0${(i % 9) + 1}`,
      seenAt: i % 4 === 0 ? null : new Date(Date.UTC(2024, 0, i + 1, 3, 4, 5, 678)),
      localTime: i % 4 === 0 ? null : new Date(2024, 5, i + 1, 12, 30),
      wakesAt: i % 4 === 0 ? null : `0${i % 9}:15:00`,
      score: i % 4 === 0 ? null : `${i}.5000`,
      big: i % 4 === 0 ? null : `90071992547409${90 + (i % 9)}`,
      ratio: i % 4 === 0 ? null : i / 3,
      active: i % 2 === 0,
      digest: i % 4 === 0 ? null : Buffer.from([i, 0, 255]),
      token: i % 4 === 0 ? null : `00000000-0000-4000-8000-0000000000${String(i).padStart(2, '0')}`,
      teamId: i % 5 === 0 ? null : teams[i % 3]!.id,
    }),
  )
  await manager.save(made)
  await manager.softRemove(made.slice(20))
  await manager.save(
    made
      .slice(0, 6)
      .flatMap(({ id }) => [
        manager.create(Grant, { memberId: id, resource: 'wiki', level: id % 2 === 0 ? null : 'read' }),
        manager.create(Grant, { memberId: id, resource: 'shop_front', level: 'write' }),
      ]),
  )
  await manager.save([3, 1, 2].map(weight => manager.create(Notice, { weight, team: teams[0]! })))
}

/** Where the answer came from. */
type Source = 'memory' | 'original'

async function expectSame<Result, Entity extends ObjectLiteral>(
  reader: CachedRepository<Entity>,
  source: Source,
  read: (from: CachedRepository<Entity> | Repository<Entity>) => Promise<Result>,
): Promise<void> {
  const before = { ...reader.reads }
  const [ours, theirs] = [await read(reader), await read(reader.original)]
  expect(ours).toEqual(theirs)
  expect(shapeOf(ours)).toEqual(shapeOf(theirs))
  const { cached, original } = reader.reads
  expect({ cached: cached - before.cached, original: original - before.original }).toEqual(
    source === 'memory' ? { cached: 1, original: 0 } : { cached: 0, original: 1 },
  )
}

/** What `toEqual` does not look at: classes, the order of properties, and which are there though undefined. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf)
  if (typeof value !== 'object' || value === null) return typeof value
  const { name } = (value as object).constructor
  if (value instanceof Date || Buffer.isBuffer(value)) return name
  return [name, ...Object.entries(value).map(([property, inner]) => [property, shapeOf(inner)])]
}

type Where = FindOptionsWhere<Member> | FindOptionsWhere<Member>[]

/** Made anew for each read: TypeORM changes the operators that it is given, where a column has transformers. */
const conditions: [string, () => Where][] = [
  ['nothing', () => ({})],
  ['a key', () => ({ id: 3 })],
  ['a key that is not there', () => ({ id: 999 })],
  ['a key as text', () => ({ id: '7' as unknown as number })],
  ['a unique column', () => ({ email: 'member4@example.com' })],
  ['two columns', () => ({ teamId: 2, active: true })],
  ['a transformed column', () => ({ salary: 1007.25 })],
  ['several transformers', () => ({ motto: 'MOTTO 2!' })],
  ['a transformed column with operators', () => ({ salary: Or(LessThan(1004), In([1011.25, 1012.25])) })],
  ['an embedded column', () => ({ address: { place: { city: 'City 1' } } })],
  ['embedded columns, one NULL', () => ({ address: { street: IsNull(), place: { country: 'Land' } } })],
  ['an enum', () => ({ role: 'admin' })],
  ['a boolean', () => ({ active: false })],
  ['Equal', () => ({ nickname: Equal('nick_4%') })],
  ['Not', () => ({ nickname: Not('nick_4%') })],
  ['Not Equal', () => ({ teamId: Not(Equal(2)) })],
  ['Not IsNull', () => ({ nickname: Not(IsNull()) })],
  ['IsNull', () => ({ settings: IsNull() })],
  ['In', () => ({ id: In([1, 3, 500]) })],
  ['Not In', () => ({ teamId: Not(In([1, 2])) })],
  ['a number below', () => ({ id: LessThan(4) })],
  ['a number at most', () => ({ id: LessThanOrEqual(4) })],
  ['a number above', () => ({ id: MoreThan(15) })],
  ['a number at least', () => ({ id: MoreThanOrEqual(15) })],
  ['Between', () => ({ id: Between(3, 6) })],
  ['Not Between', () => ({ id: Not(Between(3, 16)) })],
  ['And', () => ({ id: And(MoreThan(3), Not(In([4, 5])), LessThan(9)) })],
  ['Or', () => ({ id: Or(Equal(3), MoreThan(17)) })],
  ['alternatives', () => [{ id: 3 }, { email: 'member8@example.com' }]],
  ['one alternative', () => [{ teamId: 1, role: 'member' }]],
  ['a moment', () => ({ seenAt: MoreThan(new Date(Date.UTC(2024, 0, 12))) })],
  ['a date', () => ({ birthday: MoreThan('1980-01-01') })],
  ['a numeric', () => ({ score: Equal('7.5') })],
  ['a bigint', () => ({ big: '9007199254740991' })],
  ['a uuid', () => ({ token: '00000000-0000-4000-8000-000000000007' })],
  ['a deleted row', () => ({ email: 'member22@example.com' })],
]

const originals: [string, () => Where][] = [
  ['no alternatives that say something', () => [{}, { id: 3 }]],
  ['an empty In', () => ({ id: In([]) })],
  ['ILike', () => ({ email: ILike('MEMBER1%') })],
  ['Any', () => ({ id: Any([1, 2]) })],
  ['Raw', () => ({ id: Raw(alias => `${alias} % 7 = 0`) })],
  ['ArrayContains', () => ({ scores: ArrayContains([4]) })],
  ['a relation', () => ({ team: { name: 'Team 2' } })],
  ['a column that is not selected', () => ({ passwordHash: 'hash 5' })],
  ['a pattern with its own signs', () => ({ nickname: Like('nick\\_4%') })],
]

describe('a condition finds what it finds through TypeORM', () => {
  const find: FindManyOptions<Member> = { order: { id: 'ASC' } }

  test.each(conditions)('%s, from memory', async (_, make) => {
    await expectSame(members, 'memory', from => from.find({ ...find, where: make() }))
    await expectSame(members, 'memory', from => from.find({ ...find, where: make(), withDeleted: true }))
    await expectSame(members, 'memory', from => from.findOne({ ...find, where: make() }))
    await expectSame(members, 'memory', from => from.countBy(make()))
    await expectSame(members, 'memory', from => from.count({ where: make(), withDeleted: true }))
    await expectSame(members, 'memory', from => from.existsBy(make()))
    await expectSame(members, 'memory', from => from.exists({ where: make() }))
    await expectSame(members, 'memory', async from => byId(await from.findBy(make())))
  })

  test.each(originals)('%s, from TypeORM', async (_, make) => {
    await expectSame(members, 'original', from => from.find({ ...find, where: make() }))
    await expectSame(members, 'original', from => from.findOne({ ...find, where: make() }))
    await expectSame(members, 'original', from => from.countBy(make()))
    await expectSame(members, 'original', from => from.existsBy(make()))
    await expectSame(members, 'original', async from => byId(await from.findBy(make())))
  })

  test('with findOneBy', async () => {
    await expectSame(members, 'memory', from => from.findOneBy({ id: 5 }))
    await expectSame(members, 'memory', from => from.findOneBy({ id: 999 }))
    await expectSame(members, 'memory', from => from.findOneBy({ email: 'member9@example.com' }))
    await expectSame(members, 'memory', from => from.findOneBy({ id: 22 }))
    await expectSame(grants, 'memory', from => from.findOneBy({ memberId: 2, resource: 'wiki' }))
    await expectSame(grants, 'memory', from => from.findOneBy({ memberId: 2, resource: 'none' }))
  })

  test('with patterns, wherever it comes from', async () => {
    for (const pattern of ['member1%', '%ber2%']) {
      const read = (from: CachedRepository<Member> | Repository<Member>): Promise<Member[]> =>
        from.find({ ...find, where: { email: Like(pattern) } })
      expect(await read(members)).toEqual(await read(members.original))
    }
  })
})

function byId(list: readonly Member[]): Member[] {
  return list.toSorted((one, other) => one.id - other.id)
}

describe('options do what they do through TypeORM', () => {
  const fromMemory: [string, FindManyOptions<Member>][] = [
    ['all of them', { order: { id: 'ASC' } }],
    ['descending', { order: { id: 'DESC' } }],
    ['by a number', { order: { id: -1 } }],
    ['several columns', { order: { teamId: 'DESC', id: 'ASC' } }],
    ['NULLs first', { order: { teamId: { direction: 'ASC', nulls: 'FIRST' }, id: 'asc' } }],
    ['NULLs last', { order: { ratio: { direction: 'desc', nulls: 'last' }, id: 1 } }],
    ['an enum, in its own order', { order: { role: 'ASC', id: 'ASC' } }],
    ['a moment', { order: { seenAt: 'DESC', id: 'ASC' } }],
    ['take', { order: { id: 'ASC' }, take: 3 }],
    ['skip', { order: { id: 'ASC' }, skip: 15 }],
    ['skip and take', { order: { id: 'ASC' }, skip: 2, take: 4 }],
    ['a page behind the end', { order: { id: 'ASC' }, skip: 100, take: 4 }],
    ['select', { select: { id: true, email: true }, order: { id: 'ASC' } }],
    ['select without the key', { select: { role: true, motto: true }, order: { id: 'ASC' }, take: 5 }],
    [
      'select of embedded columns',
      { select: { id: true, address: { place: { city: true } } }, order: { id: 'ASC' } },
    ],
    ['select of what is NULL', { select: { nickname: true }, order: { id: 'ASC' } }],
    ['an empty select', { select: {}, order: { id: 'ASC' }, take: 2 }],
    ['with deleted ones', { withDeleted: true, order: { id: 'ASC' } }],
  ]
  test.each(fromMemory)('%s, from memory', async (_, options) => {
    await expectSame(members, 'memory', from => from.find(options))
  })

  const fromOriginal: [string, FindManyOptions<Member>][] = [
    ['relations', { relations: { team: true }, order: { id: 'ASC' } }],
    [
      'a column that is not selected by itself',
      { select: { id: true, passwordHash: true }, order: { id: 'ASC' } },
    ],
    ['a comment', { comment: 'seen in the log', order: { id: 'ASC' } }],
    ['relation ids', { loadRelationIds: true, order: { id: 'ASC' } }],
    ['take 0, which is no limit', { take: 0, order: { id: 'ASC' } }],
    ['order by a relation', { order: { team: { name: 'ASC' }, id: 'ASC' } }],
  ]
  test.each(fromOriginal)('%s, from TypeORM', async (_, options) => {
    await expectSame(members, 'original', from => from.find(options))
  })

  test('an order of the entity, and relations that are always loaded', async () => {
    const notices = cachedRepository(dataSource.getRepository(Notice), cache)
    await expectSame(notices, 'original', from => from.find())
    await expectSame(notices, 'original', from => from.find({ loadEagerRelations: false }))
    await expectSame(notices, 'memory', from =>
      from.find({ loadEagerRelations: false, order: { id: 'ASC' } }),
    )
  })
})

describe('mistakes are TypeORM’s to make', () => {
  test.each<[string, unknown]>([
    ['undefined as a value', { id: undefined }],
    ['null as a value', { nickname: null }],
    ['a property that is not there', { nicname: 'x' }],
    ['a text for a number', { id: 'seven' }],
  ])('%s', async (_, where) => {
    const given = where as FindOptionsWhere<Member>
    const theirs: unknown = await members.original.findOneBy(given).catch((error: unknown) => error)
    expect(theirs).toBeInstanceOf(Error)
    await expect(members.findOneBy(given)).rejects.toThrow((theirs as Error).message)
  })

  test('no condition at all', async () => {
    await expect(members.findOne({})).rejects.toThrow('You must provide selection conditions')
  })

  test('findOneOrFail and findOneByOrFail', async () => {
    await expect(members.findOneByOrFail({ id: 999 })).rejects.toThrow(EntityNotFoundError)
    await expect(members.findOneOrFail({ where: { id: 999 } })).rejects.toThrow(EntityNotFoundError)
    expect((await members.findOneByOrFail({ id: 2 })).id).toBe(2)
    expect((await members.findOneOrFail({ where: { id: 2 } })).id).toBe(2)
  })
})

test('what comes back belongs to the caller', async () => {
  const first = (await members.findOneBy({ id: 2 }))!
  expect(first).toBeInstanceOf(Member)
  expect(first.isAdmin()).toBe(false)
  expect(first.greeting).toBe('Hello, nick_1%')
  first.profile!.likes.push('coffee')
  first.profile!.deep.n = -1
  first.scores!.push(99)
  first.seenAt!.setFullYear(1999)
  first.digest![0] = 77
  first.address.place.city = 'Elsewhere'
  first.nickname = 'changed'
  expect(await members.findOneBy({ id: 2 })).toEqual(await members.original.findOneBy({ id: 2 }))
})

test('what was found can be saved, and is then found changed', async () => {
  const found = (await members.findOneBy({ id: 3 }))!
  found.nickname = 'saved'
  found.salary = 1.5
  await members.original.save(found)
  await caughtUp(cache)
  await expectSame(members, 'memory', from => from.findOneBy({ id: 3 }))
  expect(await members.findOneBy({ id: 3 })).toMatchObject({ nickname: 'saved', salary: 1.5, version: 2 })
})

test('a transaction reads itself', async () => {
  await dataSource.transaction(async manager => {
    const inside = cachedRepository(manager.getRepository(Team), cache)
    await manager.insert(Team, { name: 'not committed' })
    expect(await inside.existsBy({ name: 'not committed' })).toBe(true)
    expect(inside.reads).toEqual({ cached: 0, original: 1 })
    await manager.delete(Team, { name: 'not committed' })
  })
})

test('a table whose columns have just got other types is TypeORM’s to read', async () => {
  const refused = (): Promise<never> => Promise.reject(new TableReloadingError('public.team'))
  const altered = { table: () => ({ findMany: refused, count: refused }), scope: null } as unknown as Cache
  const teams = cachedRepository(dataSource.getRepository(Team), altered)
  expect(await teams.find()).toEqual(await teams.original.find())
  expect(await teams.count()).toBe(await teams.original.count())
  expect(teams.reads).toEqual({ cached: 0, original: 2 })
})

test('subscribers are told of what is loaded', async () => {
  const teams = cachedRepository(dataSource.getRepository(Team), cache)
  const before = subscriber.loaded
  await teams.find()
  expect(subscriber.loaded).toBe(before + 3)
})

test('columns with select: false are not in memory', () => {
  const [table] = tablesOf(dataSource, [Member])
  const rows = [...cache.table(table!).local]
  expect(rows.length).toBe(24)
  expect(Object.keys(rows[0]!)).not.toContain('passwordHash')
})

test('a repository that is patched reads from memory until that is taken back', async () => {
  const repository = dataSource.getRepository(Grant)
  const queries = countQueries()
  const restore = patchRepository(repository, cache)
  expect(await repository.findOneBy({ memberId: 1, resource: 'wiki' })).toBeInstanceOf(Grant)
  expect(await repository.count()).toBe(12)
  expect(queries()).toBe(0)
  // What the cache does not know goes to TypeORM, and does not come back here.
  expect(await repository.findBy({ resource: ILike('WIKI') })).toHaveLength(6)
  expect(queries()).toBe(1)
  restore()
  expect(await repository.count()).toBe(12)
  expect(queries()).toBe(2)
})

/** How many queries TypeORM has sent since. */
function countQueries(): () => number {
  let count = 0
  const pool = poolOf(dataSource)
  const { connect } = pool
  pool.connect = ((...args: unknown[]) => {
    count++
    return Reflect.apply(connect, pool, args) as unknown
  }) as typeof connect
  return () => count
}

test('what can not be cached is refused by name', async () => {
  expect(() => tablesOf(new DataSource({ type: 'postgres' }), [Team])).toThrow(OptionError)
  await using other = await openCache({ pool: poolOf(dataSource), entities: tablesOf(dataSource, [Team]) })
  expect(() => cachedRepository(dataSource.getRepository(Grant), other)).toThrow(OptionError)
})
