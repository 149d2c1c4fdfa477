import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { Xid8 } from '../change/xid.js'
import type { TableStore } from './table.js'

/** Commits that are remembered at most. Beyond that the oldest go, and only queries that see all of those are known not to be behind. */
const COMMITS_MAX = 65_536

interface Commit {
  /** As the stream has it, 32 bits. */
  readonly xid: number
  readonly tables: readonly TableStore[]
}

/** A query under way: what was not certain to be visible when it was sent is kept until it has answered. */
export interface QueryUnderWay {
  readonly after: number
  /** How many commits were visible here when it was sent. */
  readonly sent: number
}

/**
 * The commits that are visible here and may not be visible to a query: the stream delivers a commit once its record is written, while PostgreSQL
 * shows it to other sessions only when its synchronous standbys have it. What one answered query has seen, every later one sees.
 */
export class RecentCommits {
  readonly #commits: Commit[] = []
  /** How many commits there were before the first of `#commits`. */
  #before = 0
  /** So many, from the very first on, are visible to every query that is sent from now on. */
  #confirmed = 0
  readonly #underWay = new Set<QueryUnderWay>()
  /** The newest that had to go before it was confirmed. */
  #forgotten: number | null = null

  get size(): number {
    return this.#commits.length
  }

  /** A commit that has changed these tables has become visible here. Tables that are not read from memory any more need not be among them. */
  add(xid: number, tables: readonly TableStore[]): void {
    this.#commits.push({ xid, tables })
    if (this.#commits.length <= COMMITS_MAX) return
    const { xid: oldest } = this.#commits.shift()!
    this.#before++
    if (this.#before > this.#confirmed) this.#forgotten = oldest
  }

  /** A query is about to be sent; `answered` has to be told. */
  sending(): QueryUnderWay {
    const query = { after: this.#confirmed, sent: this.#before + this.#commits.length }
    this.#underWay.add(query)
    return query
  }

  /** It has answered, or never will. */
  answered(query: QueryUnderWay): void {
    this.#underWay.delete(query)
    this.#prune()
  }

  /** A query's answer was under this snapshot: what that sees, every later one sees. */
  confirm(snapshot: SqlSnapshot): void {
    const end = this.#before + this.#commits.length
    this.#confirmed = Math.max(this.#confirmed, this.#before)
    while (this.#confirmed < end) {
      const { xid } = this.#commits[this.#confirmed - this.#before]!
      if (!snapshot.sees(snapshot.widen(xid))) break
      this.#confirmed++
    }
    this.#prune()
  }

  /** Whether a commit on the table is visible here and not in the snapshot, or may be. */
  isAheadOf(snapshot: SqlSnapshot, table: TableStore): boolean {
    const sees = (xid: number): boolean => snapshot.sees(snapshot.widen(xid))
    if (this.#forgotten !== null && !isBefore(snapshot.widen(this.#forgotten), snapshot)) return true
    return this.#commits.some(commit => mayHaveChanged(commit, table) && !sees(commit.xid))
  }

  /** The same of the commits that were visible here when the query was sent; without a table, of any. */
  wasAheadOf({ sent }: QueryUnderWay, snapshot: SqlSnapshot, table?: TableStore): boolean {
    if (this.#forgotten !== null && !isBefore(snapshot.widen(this.#forgotten), snapshot)) return true
    for (let at = 0; at < sent - this.#before; at++) {
      const commit = this.#commits[at]!
      const isMeant = table === undefined || mayHaveChanged(commit, table)
      if (isMeant && !snapshot.sees(snapshot.widen(commit.xid))) return true
    }
    return false
  }

  #prune(): void {
    let keepAfter = this.#confirmed
    for (const { after } of this.#underWay) if (after < keepAfter) keepAfter = after
    const gone = keepAfter - this.#before
    if (gone <= 0) return
    this.#commits.splice(0, gone)
    this.#before += gone
  }
}

/** What a commit does to a table that has failed, or is being read anew, nobody looks at. */
function mayHaveChanged({ tables }: Commit, table: TableStore): boolean {
  return table.failed !== null || tables.includes(table)
}

/** Whether the snapshot sees this transaction and all older ones. */
function isBefore(xid: Xid8, { xmin }: SqlSnapshot): boolean {
  return xid < xmin
}
