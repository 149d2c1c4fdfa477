/** What the sources declare, read from their syntax: types leave nothing behind that a test could ask at run time. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

export const root = join(import.meta.dirname, '../..')

export function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

export function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, read(path), ts.ScriptTarget.ESNext, true)
}

/** The names of an interface's own members, in their order. */
export function membersOf(path: string, name: string): string[] {
  for (const statement of parse(path).statements) {
    if (ts.isInterfaceDeclaration(statement) && statement.name.text === name)
      return statement.members.map(member => member.name!.getText())
  }
  throw new Error(`${path} has no interface ${name}`)
}

/** The texts of a union type, in their order. */
export function wordsOf(path: string, name: string): string[] {
  for (const statement of parse(path).statements) {
    if (ts.isTypeAliasDeclaration(statement) && statement.name.text === name)
      return [...statement.type.getText().matchAll(/'([^']+)'/g)].map(([, word]) => word!)
  }
  throw new Error(`${path} has no type ${name}`)
}
