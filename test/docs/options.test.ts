/** The tables of options say what the code does: no option is missing, none is invented, and each default is the real one. */
import { runInNewContext } from 'node:vm'
import pg from 'pg'
import { expect, test } from 'vitest'
import { resolveOptions } from '../../src/cache/options.js'
import { decoders } from '../../src/decode/index.js'
import { declarationOf } from '../../src/mapping/declared.js'
import { defineTable, type OpenCacheOptions, setupSql } from '../../src/index.js'
import { membersOf } from './interfaces.js'
import { rowsByName, section } from './markdown.js'

const OPTIONS = 'src/cache/types.ts'
const DECLARATION = 'src/mapping/declaration.ts'
const users = defineTable({ name: 'users' })
const documents = [
  ['docs/options.md', 'openCache'],
  ['README.md', 'Options'],
] as const

/** The default in a table's cell as the value that the option could be given; undefined if the cell says it in words. */
function documentedDefault([cell = '']: readonly string[]): unknown {
  const literal = /^`(.*)`$/.exec(cell)?.[1]
  return literal === undefined ? undefined : runInNewContext(`(${literal})`)
}

test.each(documents)('%s lists every option of openCache', (path, heading) => {
  const [table] = section(path, heading).split(/^### /m)
  expect([...rowsByName(table!).keys()].sort()).toEqual(membersOf(OPTIONS, 'OpenCacheOptions').sort())
})

test.each(documents)('a default in %s is what openCache takes where nothing is given', (path, heading) => {
  const [table] = section(path, heading).split(/^### /m)
  const required = { pool: new pg.Pool(), entities: [users] }
  const { onProgress, ...resolved } = resolveOptions(required)
  let given = 0
  for (const [option, cells] of rowsByName(table!)) {
    const value = documentedDefault(cells)
    if (value === undefined) continue
    given++
    const options = { ...required, [option]: value } as OpenCacheOptions
    expect(resolveOptions(options), `option ${option}`).toMatchObject(resolved)
  }
  expect(given).toBeGreaterThan(8)
  expect(onProgress).toBeTypeOf('function')
})

test.each(documents)('%s lists the decoders that there are', (path, heading) => {
  const cells = rowsByName(section(path, heading)).get('decoder')!
  const listed = new Set([...cells.join(' ').matchAll(/`'(\w+)'`/g)].map(([, name]) => name!))
  expect([...listed].sort()).toEqual(Object.keys(decoders).sort())
})

test('a table has the options that are listed, with these defaults', () => {
  const rows = rowsByName(section('docs/options.md', 'A table: ReplicatedTable, defineTable'))
  const own = membersOf('src/mapping/define-table.ts', 'TableDefinition')
  const members = new Set([...membersOf(DECLARATION, 'TableOptions'), ...own])
  expect([...rows.keys()].sort()).toEqual([...members].sort())
  const declaration = declarationOf(users) as unknown as Record<string, unknown>
  for (const [option, cells] of rows) {
    const value = documentedDefault(cells)
    if (value !== undefined) expect(declaration[option], `option ${option}`).toEqual(value)
  }
})

test('a read has the options that are listed', () => {
  const rows = rowsByName(section('docs/options.md', 'A read: findUnique, findUniqueOrThrow'))
  const members = [
    ...membersOf('src/query/types.ts', 'FindUnique'),
    ...membersOf('src/query/read-options.ts', 'ReadOptions'),
  ]
  expect([...rows.keys()].sort()).toEqual(members.sort())
})

test('setupSql has the options that are listed, with these defaults', () => {
  const rows = rowsByName(section('docs/options.md', 'setupSql'))
  expect([...rows.keys()]).toEqual(membersOf('src/mapping/setup-sql.ts', 'SetupSqlOptions'))
  const given = Object.fromEntries([...rows].map(([option, cells]) => [option, documentedDefault(cells)]))
  expect(setupSql([users], given as object)).toBe(setupSql([users]))
})
