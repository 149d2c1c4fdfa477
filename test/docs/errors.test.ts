/** docs/errors.md says what the code does: no error, kind or reason is missing, and none is invented. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import * as walcache from '../../src/index.js'
import { parse, read, root, wordsOf } from './interfaces.js'
import { rowsByName, section } from './markdown.js'

const ERRORS = ['src/errors.ts', ...readdirSync(join(root, 'src/errors')).map(file => `src/errors/${file}`)]
const DOCUMENT = 'docs/errors.md'

/** Class and code of every error, as the sources have them. */
const errors = [
  ...ERRORS.map(read)
    .join('\n')
    .matchAll(/^export class (\w+) extends CacheError \{\n {2}readonly code = '(\w+)'/gm),
].map(([, name, code]) => ({ name: name!, code: code! }))

test('every error has its heading, and every heading its error', () => {
  expect(errors.length).toBeGreaterThan(10)
  const headings = [...read(DOCUMENT).matchAll(/^### (`CACHE_.*)$/gm)].map(([, heading]) => heading!)
  expect(headings.sort()).toEqual(errors.map(({ name, code }) => `\`${code}\`: ${name}`).sort())
})

test('every error can be imported', () => {
  for (const { name } of errors) expect(walcache).toHaveProperty(name)
})

test('no two errors have one code', () => {
  expect(new Set(errors.map(({ code }) => code)).size).toBe(errors.length)
})

test('the README names every code, and no other document names one that does not exist', () => {
  const codes = new Set(errors.map(({ code }) => code))
  const named = (path: string): Set<string> => new Set(read(path).match(/\bCACHE_[A-Z_]+\b/g))
  expect([...named('README.md')].sort()).toEqual([...codes].sort())
  for (const file of readdirSync(join(root, 'docs')))
    for (const code of named(join('docs', file))) expect(codes, `docs/${file}`).toContain(code)
})

test('the failures of a connection are listed', () => {
  const rows = rowsByName(section(DOCUMENT, '`CACHE_CONNECTION`: ConnectionError'))
  expect([...rows.keys()].filter(key => key !== 'failure').sort()).toEqual(
    wordsOf('src/errors/server.ts', 'ConnectionFailure').sort(),
  )
})

test('the reasons of a read that is not local are listed', () => {
  const rows = rowsByName(section(DOCUMENT, '`CACHE_NOT_LOCAL`: NotLocalError'))
  expect([...rows.keys()].filter(key => key !== 'reason').sort()).toEqual(
    wordsOf('src/errors.ts', 'NotLocalReason').sort(),
  )
})

// It reads all of the sources, which a busy machine takes its time for.
test('the kinds of problems at the start are listed', { timeout: 240_000 }, () => {
  const rows = rowsByName(section(DOCUMENT, 'Problems of a SetupError'))
  expect([...rows.keys()].filter(key => key !== 'kind').sort()).toEqual([...problemKinds()].sort())
})

/** Problems are written as `{ kind, message }`, or by a helper of the file, `add(kind, message)` or `setup(kind, message)`. */
function problemKinds(): Set<string> {
  const kinds = new Set<string>()
  const take = (expression: ts.Expression): void => {
    if (ts.isStringLiteral(expression)) kinds.add(expression.text)
    else if (ts.isConditionalExpression(expression)) [expression.whenTrue, expression.whenFalse].forEach(take)
  }
  const visit = (node: ts.Node): void => {
    if (ts.isObjectLiteralExpression(node)) {
      const property = (name: string): ts.ObjectLiteralElementLike | undefined =>
        node.properties.find(({ name: given }) => given?.getText() === name)
      const kind = property('kind')
      if (property('message') !== undefined && kind !== undefined && ts.isPropertyAssignment(kind))
        take(kind.initializer)
    } else if (ts.isCallExpression(node) && ['add', 'setup'].includes(node.expression.getText())) {
      const [first] = node.arguments
      if (first !== undefined) take(first)
    }
    ts.forEachChild(node, visit)
  }
  for (const path of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }))
    if (path.endsWith('.ts')) visit(parse(join('src', path)))
  return kinds
}
