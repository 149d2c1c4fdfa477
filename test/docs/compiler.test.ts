/** What the documents show in TypeScript is well typed, as a user's own compiler sees it, and what it hovers over is explained. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { beforeAll, describe, expect, test } from 'vitest'
import { read, root } from './interfaces.js'

/** What the documents' examples speak of and don't declare. */
const NAMES = `
import type pg from 'pg'
import type { FindOptionsWhere } from 'typeorm'
import type * as walcache from 'walcache'

declare global {
  class User { id: number; name: string; email: string; isActive: boolean; teamId: number; createdAt: Date; team: Team; orgId: number; badge: string }
  class Team { id: number; name: string }
  class Permission { id: number; name: string }
  class Comment { id: number; documentId: number; text: string }
  const orders: walcache.TableDeclaration<{ id: string; userId: number }>
  const pool: pg.Pool, client: pg.Client, url: string, signal: AbortSignal
  const cache: walcache.Cache, users: walcache.Table<User>, comments: walcache.Table<Comment>
  const repository: { findOneBy(where: FindOptionsWhere<User>): Promise<User | null> }
  const id: number, lastId: number, email: string, cookies: { token?: string }
  let cookie: string
  function askSomebodyElse(id: number): User | undefined
  function listOrders(of: User | null): Promise<{ id: string }[]>
  function push(comment: Comment): void
  function send(comments: readonly Comment[]): void
}
`

const documents = ['README.md', ...readdirSync(join(root, 'docs')).map(name => `docs/${name}`)]

/** A document's examples as one module, each line where it stands in the document. */
function moduleOf(path: string): string {
  let isCode = false
  const lines = read(path)
    .split('\n')
    .map(line => {
      if (!line.startsWith('```')) return isCode ? line : ''
      isCode = line === '```ts'
      return ''
    })
  return `${lines.join('\n')}\nexport {}`
}

const ENTRY_POINTS = [
  'index.ts',
  'sql/index.ts',
  'integrations/fastify/index.ts',
  'integrations/typeorm/index.ts',
]

/** A program of these modules, and of ours. */
function programOf(modules: ReadonlyMap<string, string>): ts.Program {
  const options: ts.CompilerOptions = {
    ...ts.parseJsonConfigFileContent({ extends: './tsconfig.base.json' }, ts.sys, root).options,
    noUnusedLocals: false,
    noUnusedParameters: false,
    noEmit: true,
    paths: {
      walcache: [join(root, 'src/index.ts')],
      'walcache/sql': [join(root, 'src/sql/index.ts')],
      'walcache/*': [join(root, 'src/integrations/*/index.ts')],
    },
  }
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  const textOf = (file: string): string | undefined => modules.get(file)
  host.fileExists = file => modules.has(file) || fileExists(file)
  host.readFile = file => textOf(file) ?? readFile(file)
  host.getSourceFile = (file, language, onError, renew) => {
    const text = textOf(file)
    return text === undefined
      ? getSourceFile(file, language, onError, renew)
      : ts.createSourceFile(file, text, language)
  }
  return ts.createProgram(
    [...modules.keys(), ...ENTRY_POINTS.map(file => join(root, 'src', file))],
    options,
    host,
  )
}

/** The errors of these modules, as `docs/queries.md:9 …`. */
function errorsOf(program: ts.Program, modules: ReadonlyMap<string, string>): string[] {
  return [...modules.keys()]
    .map(name => program.getSourceFile(name)!)
    .flatMap(file => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
    .map(({ file, start, messageText }) => {
      const { line } = file!.getLineAndCharacterOfPosition(start!)
      const path = file!.fileName.slice(root.length + 1).replace(/\.ts$/, '')
      return `${path}:${line + 1} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
    })
}

/** The names that an entry point exports without a word about them. */
function unexplained(program: ts.Program, path: string): string[] {
  const checker = program.getTypeChecker()
  const entry = checker.getSymbolAtLocation(program.getSourceFile(join(root, 'src', path))!)!
  return checker
    .getExportsOfModule(entry)
    .filter(name => {
      const meant = name.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(name) : name
      return meant.getDocumentationComment(checker).length === 0
    })
    .map(({ name }) => `${path}: ${name}`)
}

describe('as a compiler sees it,', { timeout: 240_000 }, () => {
  const modules = new Map([
    [join(root, 'names.ts'), NAMES],
    ...documents.map(path => [join(root, `${path}.ts`), moduleOf(path)] as const),
    [join(root, 'docs/wrong.md.ts'), '\nconst one: number = "1"\nexport {}'],
  ])
  let program: ts.Program
  beforeAll(() => {
    program = programOf(modules)
  }, 240_000)

  test('every example of the documents is well typed, and one that is not is told by its line', () => {
    expect(errorsOf(program, modules)).toEqual([
      "docs/wrong.md:2 Type 'string' is not assignable to type 'number'.",
    ])
  })

  test('every name that is exported says what it is', () => {
    expect(ENTRY_POINTS.flatMap(path => unexplained(program, path))).toEqual([])
  })
})
