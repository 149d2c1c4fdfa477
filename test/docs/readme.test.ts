/** What the documents show is what happens: the first example runs and prints what the README says, and no link is dead. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { defineTable, setupSql } from '../../src/index.js'
import { testDatabase } from '../support/servers.js'
import { read, root } from './interfaces.js'
import { codeBlocks, section } from './markdown.js'

const run = promisify(execFile)
const FIRST_STEPS = section('README.md', 'First steps')
const documents = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(join(root, 'docs')).map(file => join('docs', file)),
]

test("the README's first example is examples/first.ts", () => {
  const [example] = codeBlocks(FIRST_STEPS, 'ts')
  expect(example).toBe(read('examples/first.ts').replace("'../src/index.js'", "'walcache'"))
})

test('it prints what the README says', async () => {
  const db = await testDatabase()
  await db.query(codeBlocks(FIRST_STEPS, 'sql').join('\n'))
  const { hostname, port, username } = new URL(db.url)
  const { stdout } = await run(
    process.execPath,
    [join(root, 'node_modules/tsx/dist/cli.mjs'), join(root, 'examples/first.ts')],
    { env: { ...process.env, PGHOST: hostname, PGPORT: port, PGUSER: username, PGDATABASE: db.name } },
  )
  expect(codeBlocks(FIRST_STEPS, 'text')).toEqual([stdout])
}, 60_000)

test('setupSql prints what its page shows', () => {
  const entities = [defineTable({ name: 'users' }), defineTable({ name: 'orders' })]
  const [shown] = codeBlocks(section('docs/postgres-setup.md', 'The publication'), 'sql')
  expect(shown).toBe(setupSql(entities, { role: 'shop' }))
})

test('the commands that the documents name exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  for (const path of documents)
    for (const [, script] of read(path).matchAll(/npm run ([a-z:]+)/g))
      expect(scripts, `${path}: npm run ${script}`).toHaveProperty([script!])
  for (const [, benchmark] of read('README.md').matchAll(/npm run bench -- (\w+)/g))
    expect(existsSync(join(root, 'benchmarks', `${benchmark}.ts`)), `benchmark ${benchmark}`).toBe(true)
  expect(read('README.md')).toContain('Test command: `npm test`.')
})

test.each(documents)('no link in %s is dead', path => {
  for (const [, target] of read(path).matchAll(/\]\(([^)]+)\)/g)) {
    if (/^https?:/.test(target!)) continue
    const [file, anchor] = target!.split('#')
    const linked = file === '' ? path : join(dirname(path), file!)
    expect(existsSync(join(root, linked)), `${path}: ${target}`).toBe(true)
    if (anchor !== undefined) expect(anchorsOf(linked), `${path}: ${target}`).toContain(anchor)
  }
})

test('the folders that the README describes are those of src', () => {
  const described = [...section('README.md', 'How it works').matchAll(/^\| (.*?) \|/gm)]
    .flatMap(([, cell]) => [...cell!.matchAll(/`([a-z.]+?)\/?`/g)].map(([, name]) => name!))
    .filter(name => name !== 'src')
  expect(described.sort()).toEqual(
    readdirSync(join(root, 'src'))
      .filter(name => name !== 'index.ts')
      .sort(),
  )
})

/** As GitHub makes them: lower case, spaces to hyphens, other punctuation left out. */
function anchorsOf(path: string): string[] {
  return [...read(path).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  )
}
