import { catalogStatements } from './catalog-statements.js'
import { readStatements } from './read-statements.js'
import { slotStatements } from './slot-statements.js'
import { type Statement, UnknownStatementError } from './statements-types.js'

/** Everything that the scripted server understands. A new statement of the cache's is one entry in one of these lists. */
const STATEMENTS: readonly Statement[] = [...readStatements, ...catalogStatements, ...slotStatements]

interface Prepared {
  readonly statement: Statement
  readonly match: RegExpExecArray
}

/** Texts repeat: most are recognised once. */
const RECOGNISED_MAX = 10_000

/** Finds out what a statement is. */
export class Recogniser {
  readonly #known = new Map<string, Prepared>()
  /** How often each statement was answered. */
  readonly counts: Record<string, number> = {}

  /** @throws {UnknownStatementError} */
  recognise(sql: string): Prepared {
    const known = this.#known.get(sql)
    if (known !== undefined) return this.#counted(known)
    const text = sql.replaceAll(/\s+/g, ' ').trim()
    for (const statement of STATEMENTS) {
      const match = statement.text.exec(text)
      if (match === null) continue
      const prepared = { statement, match }
      if (this.#known.size >= RECOGNISED_MAX) this.#known.clear()
      this.#known.set(sql, prepared)
      return this.#counted(prepared)
    }
    throw new UnknownStatementError(sql)
  }

  #counted(prepared: Prepared): Prepared {
    const { name } = prepared.statement
    this.counts[name] = (this.counts[name] ?? 0) + 1
    return prepared
  }
}
