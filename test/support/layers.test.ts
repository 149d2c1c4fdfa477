import { expect, test } from 'vitest'
import { checkLayers } from '../../scripts/layers/check.js'
import { MAY_IMPORT } from '../../scripts/layers/rules.js'

const packages = ['lru-cache', 'pg', 'pg-logical-replication', '@scope/peer']

/** The problems of a tree of files, where a file that is only imported is empty. */
function problems(files: Record<string, string>, empty: readonly string[] = []): string[] {
  return checkLayers({
    files: new Map([...empty.map(path => [path, ''] as const), ...Object.entries(files)]),
    packages,
  })
}

test('a tree that keeps to its levels has no problem', () => {
  const tree = {
    'change/lsn.ts': '',
    'errors.ts': "import type { Lsn } from './change/lsn.js'",
    'store/slab.ts': "import { LRUCache } from 'lru-cache'\nimport { strict } from 'node:assert'",
    'store/store.ts': "import './slab.js'\nimport '../change/lsn.js'",
    'apply/applier.ts': "import '../store/store.js'\nimport 'pg'",
    'cache.ts': "import './apply/applier.js'",
    'index.ts': "export { openCache } from './cache.js'",
    'integrations/fastify/plugin.ts': "import { openCache } from '../../index.js'\nimport '@scope/peer/deep'",
  }
  expect(problems(tree)).toEqual([])
})

test.each([
  ['store', 'wire'],
  ['wire', 'store'],
  ['decode', 'mapping'],
  ['change', 'store'],
  ['source', 'store'],
  ['source', 'mapping'],
  ['apply', 'wire'],
  ['apply', 'source'],
  ['freshness', 'source'],
  ['query', 'feed'],
  ['audit', 'query'],
  ['query', 'cache'],
  ['cache', 'index'],
  ['index', 'integrations'],
  ['integrations', 'cache'],
  ['integrations', 'store'],
])('%s may not import %s', (from, to) => {
  const [importer, imported] = [`${from}/a.ts`, `${to}/b.ts`]
  expect(problems({ [importer]: `\nimport '../${to}/b.js'` }, [imported])).toEqual([
    `${importer}:2 ${from} may not import ${to}`,
  ])
})

test('each may import all that is listed for it', () => {
  for (const [from, allowed] of MAY_IMPORT) {
    for (const to of allowed)
      expect(problems({ [`${from}/a.ts`]: `import '../${to}/b.js'` }, [`${to}/b.ts`])).toEqual([])
  }
})

test.each([
  ["import type { A } from '../wire/b.js'"],
  ["export * from '../wire/b.js'"],
  ["export type { A } from '../wire/b.js'"],
  ["const load = () => import('../wire/b.js')"],
  ["type A = import('../wire/b.js').A"],
  ["import a = require('../wire/b.js')"],
  ["const a = require('../wire/b.js')"],
])('%s is an import', text => {
  expect(problems({ 'store/a.ts': text }, ['wire/b.ts'])).toEqual(['store/a.ts:1 store may not import wire'])
})

test('files may not import each other in a circle', () => {
  const circle = {
    'change/a.ts': "import '../sql/b.js'",
    'sql/b.ts': "import '../errors.js'",
    'errors.ts': "import type { A } from './change/a.js'",
  }
  expect(problems(circle)).toEqual([
    'change/a.ts:1 imports itself: change/a.ts -> sql/b.ts -> errors.ts -> change/a.ts',
  ])
  expect(problems({ 'sql/self.ts': "import './self.js'" })).toEqual([
    'sql/self.ts:1 imports itself: sql/self.ts -> sql/self.ts',
  ])
})

test('two circles that do not touch are both told', () => {
  const circles = {
    'sql/a.ts': "import './b.js'",
    'sql/b.ts': "import './a.js'",
    'wire/a.ts': "import './b.js'",
    'wire/b.ts': "import './a.js'",
  }
  expect(problems(circles)).toHaveLength(2)
})

test.each(['test', 'simulation', 'benchmarks', 'examples'])('src does not import %s', folder => {
  expect(problems({ 'cache.ts': `import '../${folder}/x.js'` })).toEqual([
    `cache.ts:1 ../${folder}/x.js is outside src`,
  ])
})

test('a relative import names an existing file and ends in .js', () => {
  expect(problems({ 'sql/a.ts': "import './b'" }, ['sql/b.ts'])).toEqual([
    'sql/a.ts:1 ./b must name a file and end in .js',
  ])
  expect(problems({ 'sql/a.ts': "import './b.ts'" }, ['sql/b.ts'])).toEqual([
    'sql/a.ts:1 ./b.ts must name a file and end in .js',
  ])
  expect(problems({ 'sql/a.ts': "import './gone.js'" })).toEqual(['sql/a.ts:1 ./gone.js does not exist'])
})

test('a folder without a level is refused', () => {
  expect(problems({ 'helpers/a.ts': '' })).toEqual([
    'helpers/a.ts:1 helpers has no level: give it one in the layer rules',
  ])
})

test('a package that users of ours do not have is refused', () => {
  expect(problems({ 'wire/a.ts': "import 'vitest/node'" })).toEqual([
    'wire/a.ts:1 vitest is neither a dependency nor a peer of the package',
  ])
  expect(problems({ 'wire/a.ts': "import fs from 'fs'" })).toEqual(['wire/a.ts:1 write node:fs'])
})

test.each(['change', 'store'])('%s does no I/O', unit => {
  for (const name of [
    'node:fs',
    'node:fs/promises',
    'node:net',
    'node:timers',
    'pg',
    'pg-logical-replication',
  ]) {
    expect(problems({ [`${unit}/a.ts`]: `import '${name}'` })).toEqual([
      `${unit}/a.ts:1 ${unit} does no I/O: ${name}`,
    ])
  }
})

test.each([
  ['Date.now()', 'Date.now'],
  ["Date['now']()", 'Date.now'],
  ['globalThis.Date.now()', 'Date.now'],
  ['const { now } = Date', 'Date.now'],
  ['const { now: clock } = performance', 'performance.now'],
  ['new Date()', 'new Date()'],
  ['Date()', 'Date()'],
  ['performance.now()', 'performance.now'],
  ['process.hrtime.bigint()', 'process.hrtime'],
  ['Math.random()', 'Math.random'],
  ['setTimeout(f, 1)', 'setTimeout'],
  ['globalThis.setTimeout(f, 1)', 'setTimeout'],
  ['const later = setTimeout', 'setTimeout'],
  ['const x = { wait: setTimeout }', 'setTimeout'],
  ['const x = { setTimeout }', 'setTimeout'],
  ['setInterval(f, 1)', 'setInterval'],
  ['setImmediate(f)', 'setImmediate'],
  ['AbortSignal.timeout(5)', 'AbortSignal.timeout'],
  ['crypto.randomUUID()', 'randomUUID'],
  ["import { randomBytes } from 'node:crypto'", 'randomBytes'],
])('only the runtime may write %s', (text, name) => {
  expect(problems({ 'wire/a.ts': text })).toEqual([
    `wire/a.ts:1 ${name} is the runtime's: take clock, timers and randomness from runtime.ts`,
  ])
  expect(problems({ 'runtime.ts': text })).toEqual([])
})

test.each(['node:timers', 'node:timers/promises', 'node:perf_hooks'])(
  'only the runtime may import %s',
  name => {
    expect(problems({ 'wire/a.ts': `import '${name}'` })).toEqual([`wire/a.ts:1 ${name} is the runtime's`])
    expect(problems({ 'runtime.ts': `import '${name}'` })).toEqual([])
  },
)

test('the same names as members, in types and in text are not the runtime', () => {
  const text = `
    interface Runtime { setTimeout(f: () => void): void; now(): number; setInterval: number }
    class Fake { setTimeout(): void {} }
    const fake = { setImmediate() {}, setInterval: 1 }
    runtime.setTimeout(f)
    runtime.now()
    let timer: ReturnType<typeof setTimeout>
    new Date(5) // not Date.now()
    Date.parse('')
    'Math.random()'
  `
  expect(problems({ 'wire/a.ts': text })).toEqual([])
})
