/**
 * What a user gets: the package as `npm pack` makes it, installed into a project of its own, with the README's first example
 * type-checked there and run under each major of Node that is supported.
 */
import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { read, root } from '../docs/interfaces.js'
import { codeBlocks, section } from '../docs/markdown.js'
import { testDatabase } from '../support/servers.js'
import { nodeBinary, type OtherMajor } from './node-binaries.js'

const execute = promisify(execFile)
const LIMIT_MS = 600_000
const FIRST_STEPS = section('README.md', 'First steps')
const [example] = codeBlocks(FIRST_STEPS, 'ts')
const OTHER_MAJORS: readonly OtherMajor[] = [22, 24]

/** Both kinds of decorators, each compiled into a folder of its own. */
const modes = {
  standard: { experimentalDecorators: false },
  legacy: { experimentalDecorators: true },
} as const
type Mode = keyof typeof modes

const work = mkdtempSync(join(tmpdir(), 'walcache-package-'))
const project = join(work, 'project')
let tarball: string
afterAll(() => rmSync(work, { recursive: true, force: true }))

/** What the command says; where it fails, what it said is the error's message. */
async function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env = process.env,
): Promise<string> {
  try {
    return (await execute(command, [...args], { cwd, env })).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string }
    throw new Error(`${command} ${args.join(' ')} failed.\n${stdout}\n${stderr}`, { cause: error })
  }
}

function versionOf(name: string): string {
  return (JSON.parse(read(join('node_modules', name, 'package.json'))) as { version: string }).version
}

/** Packs a copy of the sources: `dist` here may be of another time. */
async function pack(): Promise<string> {
  const copy = join(work, 'walcache')
  mkdirSync(copy)
  for (const name of readdirSync(root))
    if (!['node_modules', 'dist', '.git', '.cache'].includes(name))
      cpSync(join(root, name), join(copy, name), {
        recursive: true,
        filter: path => !path.endsWith('node_modules'),
      })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  const printed = await run('npm', ['pack', '--json', '--silent', '--pack-destination', work], copy)
  const [{ filename }] = JSON.parse(printed.slice(printed.indexOf('['))) as [{ filename: string }]
  return join(work, filename)
}

async function installProject(): Promise<void> {
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  const versions = ['pg', '@types/pg', '@types/node', 'typescript'].map(name => `${name}@${versionOf(name)}`)
  const args = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
  await run('npm', [...args, tarball, ...versions], project)
  writeFileSync(join(project, 'first.ts'), example!)
  // Every other example of the README, as one module that goes on where the first one has opened its cache.
  const others = codeBlocks(read('README.md'), 'ts').slice(1)
  writeFileSync(
    join(project, 'others.ts'),
    [
      "import type pg from 'pg'",
      "import type { Cache } from 'walcache'",
      'declare const pool: pg.Pool',
      'declare const cache: Cache',
    ]
      .concat('declare const User: new () => { id: number; email: string }', 'declare let cookie: string')
      .concat('declare const id: number, email: string', ...others)
      .join('\n'),
  )
  for (const [mode, decorators] of Object.entries(modes)) {
    const compilerOptions = {
      ...decorators,
      target: 'ES2022',
      module: 'NodeNext',
      strict: true,
      exactOptionalPropertyTypes: true,
      verbatimModuleSyntax: true,
      types: ['node'],
      outDir: mode,
    }
    writeFileSync(
      join(project, `tsconfig.${mode}.json`),
      JSON.stringify({ compilerOptions, files: ['first.ts', 'others.ts'] }),
    )
  }
}

/** How else users compile: each its own options, over those of a strict project; and what it compiles. */
const otherUsers = {
  bundler: {
    options: { module: 'ESNext', moduleResolution: 'Bundler', noEmit: true },
    file: 'entry-points.ts',
    text: `
      import Fastify from 'fastify'
      import { type Cache, defineTable } from 'walcache'
      import { walcache } from 'walcache/fastify'
      import { guardSql } from 'walcache/sql'
      import { cachedRepository, type CachedRepository } from 'walcache/typeorm'
      import type { Repository } from 'typeorm'
      class User { id!: number; name!: string }
      export function repositoryOf(original: Repository<User>, cache: Cache): CachedRepository<User> {
        return cachedRepository(original, cache)
      }
      export async function serve(cache: Cache): Promise<void> {
        await Fastify().register(walcache, { cache, cookie: { secure: true } })
        // @ts-expect-error: an option that it has not, so its types are there.
        await Fastify().register(walcache, { cache, cookies: {} })
        const row = await cache.table(defineTable<User>({ name: 'users' })).findUnique({ where: { id: 1 } })
        console.log(guardSql() satisfies string, row?.name satisfies string | undefined)
      }`,
  },
  CommonJS: {
    options: { module: 'NodeNext', outDir: 'commonjs' },
    file: 'commonjs.cts',
    text: `
      import { defineTable, type OpenCacheOptions, openCache } from 'walcache'
      export const open = (options: OpenCacheOptions) => openCache(options)
      console.log(typeof open, typeof defineTable({ name: 'users' }))`,
  },
} as const

function compileFor(user: keyof typeof otherUsers): Promise<string> {
  const { options, file, text } = otherUsers[user]
  // Peers of entry points that the first steps do without.
  for (const peer of ['fastify', 'typeorm']) {
    const link = join(project, 'node_modules', peer)
    if (!existsSync(link)) symlinkSync(join(root, 'node_modules', peer), link)
  }
  writeFileSync(join(project, file), text)
  const strict = { target: 'ES2022', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: true }
  const config = { compilerOptions: { ...strict, types: ['node'], ...options }, files: [file] }
  writeFileSync(join(project, `tsconfig.${user}.json`), JSON.stringify(config))
  const tsc = join(project, 'node_modules/typescript/bin/tsc')
  return run(process.execPath, [tsc, '-p', `tsconfig.${user}.json`], project)
}

async function runExample(node: string, mode: Mode): Promise<string> {
  const db = await testDatabase()
  await db.query(codeBlocks(FIRST_STEPS, 'sql').join('\n'))
  const { hostname, port, username } = new URL(db.url)
  const env = { ...process.env, PGHOST: hostname, PGPORT: port, PGUSER: username, PGDATABASE: db.name }
  return run(node, [join(mode, 'first.js')], project, env)
}

beforeAll(async () => {
  tarball = await pack()
  await installProject()
}, LIMIT_MS)

test('the package holds what it should, and nothing else', () => {
  const installed = join(project, 'node_modules/walcache')
  const names = readdirSync(installed).sort()
  const folders = ['dist', 'docs', 'package.json', 'proto', 'src']
  expect(names).toEqual([
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'LICENSE',
    'README.md',
    'SECURITY.md',
    ...folders,
  ])
  // So the documents' links lead somewhere in an installed package as well.
  const targets = [...read('README.md').matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, target]) => target!)
  expect(targets.filter(target => !existsSync(join(installed, target)))).toEqual([])
  const modules = (folder: string, end: string): string[] =>
    readdirSync(join(installed, folder), { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith(end))
      .map(path => path.slice(0, -end.length))
      .sort()
  const sources = modules('src', '.ts')
  expect(sources.length).toBeGreaterThan(50)
  for (const end of ['.js', '.d.ts', '.js.map', '.d.ts.map']) expect(modules('dist', end)).toEqual(sources)
})

test('the compiler of a user reads the public interface, and not how it works', () => {
  const dist = join(project, 'node_modules/walcache/dist')
  const reached = new Set<string>()
  const follow = (file: string): void => {
    if (reached.has(file)) return
    reached.add(file)
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/(?:from|import\() ?'(\.[^']+)\.js'/g))
      follow(join(dirname(file), `${name}.d.ts`))
  }
  follow(join(dist, 'index.d.ts'))
  const folders = new Set([...reached].map(file => relative(dist, file).split('/')[0]!))
  expect([...folders].filter(folder => ['freshness', 'source', 'store'].includes(folder))).toEqual([])
  expect(reached.size).toBeLessThan(50)
})

test('publint finds nothing wrong', async () => {
  const { buffer, byteOffset, byteLength } = readFileSync(tarball)
  const packed = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer
  const { messages, pkg } = await publint({ pack: { tarball: packed }, strict: true })
  expect(messages.map(message => formatMessage(message, pkg!))).toEqual([])
})

describe.each(Object.keys(modes) as Mode[])('with %s decorators', mode => {
  test(
    "the README's examples are well typed",
    async () => {
      const tsc = join(project, 'node_modules/typescript/bin/tsc')
      // Once with the declarations of all libraries, ours among them, which takes its time.
      const args = ['-p', `tsconfig.${mode}.json`, '--skipLibCheck', String(mode !== 'standard')]
      expect(await run(process.execPath, [tsc, ...args], project)).toBe('')
    },
    LIMIT_MS,
  )

  test(
    `the first one runs on Node ${process.versions.node}`,
    async () => {
      expect([await runExample(process.execPath, mode)]).toEqual(codeBlocks(FIRST_STEPS, 'text'))
    },
    LIMIT_MS,
  )
})

test.for(OTHER_MAJORS)(
  'the first example runs on Node %i',
  { timeout: LIMIT_MS },
  async (major, { skip }) => {
    const node = await nodeBinary(major).catch((error: unknown) => {
      if (process.env['CI'] === 'true') throw error
      return skip(`npm has no Node ${major} for this machine, or can't be reached: ${String(error)}`)
    })
    expect(await run(node, ['--version'], project)).toMatch(`v${major}.`)
    expect([await runExample(node, 'standard')]).toEqual(codeBlocks(FIRST_STEPS, 'text'))
  },
)

test('CommonJS can require it, and gets the same module', async () => {
  const code = `
    const required = require('walcache')
    import('walcache').then(imported => console.log(typeof required.openCache, required.openCache === imported.openCache))`
  expect(await run(process.execPath, ['--input-type=commonjs', '--eval', code], project)).toBe(
    'function true\n',
  )
})

test('every entry point is well typed for a bundler', { timeout: LIMIT_MS }, async () => {
  expect(await compileFor('bundler')).toBe('')
})

test('CommonJS written in TypeScript compiles and runs', { timeout: LIMIT_MS }, async () => {
  expect(await compileFor('CommonJS')).toBe('')
  expect(await run(process.execPath, ['commonjs/commonjs.cjs'], project)).toBe('function object\n')
})
