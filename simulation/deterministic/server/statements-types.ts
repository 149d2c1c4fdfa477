import type { TextRow } from '../../../src/runtime.js'
import type { Backend } from './backend.js'

export type Parameters = readonly (string | null)[]

/** What a handler gives: rows, or undefined to be asked again a little later, as who waits for a lock. */
export type Answer = TextRow[] | undefined

/** One statement that the cache sends, and what the scripted server makes of it. */
export interface Statement {
  /** For messages and counts. */
  readonly name: string
  /** Matches the statement's text with all white space made single spaces. */
  readonly text: RegExp
  readonly answer: (backend: Backend, match: RegExpExecArray, parameters: Parameters) => Answer
}

/** The cache has sent what nobody has taught the scripted server: the run is of no use. */
export class UnknownStatementError extends Error {
  constructor(sql: string) {
    super(
      `The scripted server does not know this statement; teach it in simulation/deterministic/server/*-statements.ts (see docs/testing.md):\n${sql}`,
    )
  }
}

/** A row that has these columns and no others: who asks it for another one is told. */
export function row(of: string, values: Readonly<Record<string, string | null>>): TextRow {
  return new Proxy(values, {
    get(target, name) {
      if (typeof name !== 'string' || Object.hasOwn(target, name) || name === 'then' || name === 'toJSON')
        return Reflect.get(target, name) as string | null
      throw new UnknownStatementError(`(its answer to "${of}" has no column "${name}")`)
    },
  })
}
