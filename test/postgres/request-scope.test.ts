import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotLocalError,
  openCache,
  type OpenCacheOptions,
  OptionError,
  type RequestScope,
  SnapshotTooOldError,
  TokenError,
  WaitTimeoutError,
} from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Member {
  readonly id: number
  readonly name: string
}
interface Rate {
  readonly at: number
  readonly name: string
}

const members = defineTable<Member>({ name: 'members' })
/** Its keys only PostgreSQL can compare. */
const rates = defineTable<Rate>({ name: 'rates' })

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})

async function open(options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  await db.query(`
    drop table if exists members, rates;
    create table members (id int primary key, name text not null);
    create table rates (at float8 primary key, name text not null);
    insert into members values (1, 'Ada'), (2, 'Grace');
    insert into rates values (1.5, 'first')`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [members, rates], ...options })
  onTestFinished(() => cache.close())
  return cache
}

const nameOf = async (cache: Cache, id = 1): Promise<string | undefined> =>
  (await cache.table(members).findUnique({ where: { id } }))?.name

/** Done by somebody else: no request knows of it. */
async function rename(cache: Cache, name: string): Promise<string> {
  await db.query('update members set name = $1', [name])
  const token = await cache.token()
  await cache.waitFor(token)
  return token
}

describe('cache.run', () => {
  test('shows one commit to every asynchronous read within it, however deep, and lets go of it at its end', async () => {
    const cache = await open()
    const seen = await cache.run({}, async scope => {
      expect(cache.scope).toBe(scope)
      expect(cache.health().openSnapshots).toBe(1)
      const before = await nameOf(cache)
      await rename(cache, 'Bea')
      const among = await Promise.all([nameOf(cache), nameOf(cache, 2)])
      // The synchronous face takes no notice, and the scope has one that does.
      expect(cache.table(members).local.get(1)?.name).toBe('Bea')
      expect(scope.snapshot?.table(members).local.get(1)?.name).toBe('Ada')
      return [before, ...among]
    })
    expect(seen).toEqual(['Ada', 'Ada', 'Grace'])
    expect(cache.scope).toBeNull()
    expect(await nameOf(cache)).toBe('Bea')
    expect(cache.health().openSnapshots).toBe(0)
  })

  test('lets go when its function throws, at once or later', async () => {
    const cache = await open()
    const boom = new Error('boom')
    const throwing = (): never => {
      throw boom
    }
    await expect(cache.run({}, throwing)).rejects.toBe(boom)
    await expect(
      cache.run({}, async () => {
        await nameOf(cache)
        throw boom
      }),
    ).rejects.toBe(boom)
    expect(cache.health().openSnapshots).toBe(0)
  })

  test('keeps requests that run side by side apart', async () => {
    const cache = await open()
    const both = await cache.run({}, async () => {
      await rename(cache, 'Bea')
      const inner = await cache.run({}, () => nameOf(cache))
      return [await nameOf(cache), inner]
    })
    expect(both).toEqual(['Ada', 'Bea'])
    const requests = await Promise.all(
      ['Cleo', 'Dora', 'Eva'].map(name =>
        cache.run({}, async () => {
          const first = await nameOf(cache)
          await rename(cache, name)
          return (await nameOf(cache)) === first
        }),
      ),
    )
    expect(requests).toEqual([true, true, true])
  })

  test('with a token begins at or after it', async () => {
    const cache = await open()
    for (let i = 0; i < 20; i++) {
      const { token } = await cache.write(client => client.query('update members set name = $1', [`n${i}`]))
      expect(await cache.run({ token }, () => nameOf(cache))).toBe(`n${i}`)
    }
    await expect(cache.run({ token: 'made up' }, () => nameOf(cache))).rejects.toBeInstanceOf(TokenError)
  })

  test('whose token is not reached in time asks PostgreSQL for everything, or says so', async () => {
    const cache = await open()
    const writeMuch = async (name: string): Promise<string> => {
      const { token } = await cache.write(async client => {
        await client.query('insert into rates select random(), $1 from generate_series(1, 30000)', [name])
        await client.query('update members set name = $1', [name])
      })
      return token
    }
    // Usually it is still being applied; whichever way, the answer is the same.
    const first = await writeMuch('first')
    expect(await cache.run({ token: first, timeoutMs: 0 }, () => nameOf(cache))).toBe('first')
    const second = await writeMuch('second')
    const strict = cache.run({ token: second, timeoutMs: 0, onTimeout: 'throw' }, () => nameOf(cache))
    const outcome = await strict.catch((error: unknown) => error)
    if (outcome !== 'second') expect(outcome).toBeInstanceOf(WaitTimeoutError)
  })

  test('begins at a snapshot of the caller’s, and leaves that open', async () => {
    const cache = await open()
    using snapshot = cache.snapshot()
    const token = await rename(cache, 'Bea')
    expect(await cache.run({ snapshot }, () => nameOf(cache))).toBe('Ada')
    expect(snapshot.table(members).local.get(1)?.name).toBe('Ada')
    expect(await cache.run({ snapshot, token }, () => nameOf(cache))).toBe('Bea')
    expect(snapshot.table(members).local.get(1)?.name).toBe('Ada')
    expect(cache.health().openSnapshots).toBe(1)
  })

  test('moves forward for a read that wants its own write, or a tighter bound, and never back', async () => {
    const cache = await open()
    await cache.run({}, async scope => {
      const first = scope.snapshot?.position
      const token = await rename(cache, 'Bea')
      expect(await nameOf(cache)).toBe('Ada')
      const after = await cache.table(members).findUnique({ where: { id: 1 }, after: token })
      expect(after?.name).toBe('Bea')
      expect(scope.snapshot?.position).not.toBe(first)
      expect(await nameOf(cache)).toBe('Bea')
      await rename(cache, 'Cleo')
      const fresh = await cache
        .table(members)
        .findUnique({ where: { id: 1 }, maxStaleness: 0, onStale: 'serve' })
      expect(fresh?.name).toBe('Cleo')
      expect(await nameOf(cache)).toBe('Cleo')
    })
    expect(cache.health().openSnapshots).toBe(0)
  })

  test('shows what was written within it', async () => {
    const cache = await open()
    for (let i = 0; i < 10; i++)
      await cache.run({}, async () => {
        await nameOf(cache)
        const write = i % 2 === 0 ? cache : cache.session()
        await write.write(client => client.query('update members set name = $1', [`n${i}`]))
        expect(await nameOf(cache)).toBe(`n${i}`)
      })
  })

  test('shows nothing older than what PostgreSQL was asked for in between', async () => {
    const cache = await open()
    for (let i = 0; i < 10; i++)
      await cache.run({}, async scope => {
        await db.query('update members set name = $1', [`n${i}`])
        await db.query('update rates set name = $1', [`n${i}`])
        const rate = await cache.table(rates).findUnique({ where: { at: 1.5 } })
        expect(rate?.name).toBe(`n${i}`)
        expect(await nameOf(cache)).toBe(`n${i}`)
        await db.query('update members set name = $1', [`m${i}`])
        expect(await nameOf(cache)).toBe(`n${i}`)
        // An ORM has shown it.
        scope.databaseWasRead()
        expect(await nameOf(cache)).toBe(`m${i}`)
      })
    const strict = cache.run({ onUnknown: 'throw' }, () =>
      cache.table(rates).findUnique({ where: { at: 1.5 } }),
    )
    await expect(strict).rejects.toBeInstanceOf(NotLocalError)
  })

  test('without memory reads PostgreSQL, and where that is not allowed says so', async () => {
    const cache = await open()
    const scoped = async (scope: RequestScope): Promise<unknown> => {
      expect(scope.snapshot).toBeNull()
      await db.query("update members set name = 'Now'")
      expect(await nameOf(cache)).toBe('Now')
      return cache.table(members).findUnique({ where: { id: 1 }, onUnknown: 'throw' })
    }
    await expect(cache.run({ maxStaleness: 0 }, scoped)).rejects.toMatchObject({ reason: 'request scope' })
    await expect(cache.run({ maxStaleness: 0, onStale: 'throw' }, scoped)).rejects.toMatchObject({
      code: 'CACHE_STALE',
    })
  })

  test('is over when it has ended: what goes on after it reads as if there had been none', async () => {
    const cache = await open()
    let goOn = (): void => undefined
    const gate = new Promise<void>(resolve => {
      goOn = resolve
    })
    let dangling: Promise<string | undefined> = Promise.resolve(undefined)
    await cache.run({}, () => {
      dangling = gate.then(() => nameOf(cache))
    })
    await rename(cache, 'Bea')
    goOn()
    expect(await dangling).toBe('Bea')
  })

  test('that lasts too long is told so', async () => {
    const cache = await open({ snapshotMaxAgeMs: 50 })
    const slow = cache.run({}, async () => {
      await until(() => cache.health().openSnapshots === 0, 'its snapshot has expired')
      return nameOf(cache)
    })
    await expect(slow).rejects.toBeInstanceOf(SnapshotTooOldError)
  })

  test('refuses what it does not know', async () => {
    const cache = await open()
    await expect(cache.run({ after: 'x' } as object, () => 1)).rejects.toBeInstanceOf(OptionError)
    await expect(cache.run({}, 1 as unknown as () => number)).rejects.toBeInstanceOf(OptionError)
    await caughtUp(cache)
    expect(cache.health().openSnapshots).toBe(0)
  })
})
