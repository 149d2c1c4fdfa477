import type { Relation } from '../change/relation.js'
import { GUARD_PREFIX, guardConcerns } from '../sql/guard-sql.js'
import type { Seats } from './seats.js'

/** Who is asked what the tables look like. Nothing more is applied until the answer resolves. */
export interface ShapeQuestions {
  /**
   * Relations of these tables were announced, by transaction `xid`: the server says so before the first change, and again after its shape may have
   * changed. So was one that nobody knows, which may be a new partition of theirs. Without it the stream is trusted.
   */
  readonly onAnnounced?: (xid: number, oids: readonly number[]) => Promise<void>
  /** Transaction `xid` has altered tables, or what they depend on: the database says so by a message (`guardSql`), before its commit. */
  readonly onTold?: (xid: number) => Promise<void>
}

/** What the stream says of the tables' shapes. It does not say all of it: the server is asked before anything more is applied. */
export class ShapeHints {
  readonly #seats: Seats
  readonly #questions: ShapeQuestions
  /** Tables whose relations were announced, and that the server has not been asked about yet. */
  #announced: number[] = []
  /** The transaction in progress has told that it alters tables; `#isTold`: and the server has not been asked about that yet. */
  #wasTold = false
  #isTold = false

  constructor(seats: Seats, questions: ShapeQuestions) {
    this.#seats = seats
    this.#questions = questions
  }

  /** Whether there is something to ask: `ask` is to be called. */
  get isWaiting(): boolean {
    return this.#isTold || this.#announced.length > 0
  }

  /** A transaction begins. */
  begin(): void {
    this.#wasTold = false
  }

  announced(relation: Relation): void {
    if (this.#questions.onAnnounced !== undefined) this.#announced.push(...this.#seats.concernedBy(relation))
  }

  /** Messages change no row, but one may tell that tables were altered. One for a transaction is enough: all of it is looked at. */
  message(prefix: string, content: Uint8Array, transactional: boolean): void {
    if (!transactional || prefix !== GUARD_PREFIX || this.#wasTold) return
    if (!guardConcerns(content, oid => this.#seats.has(oid))) return
    this.#wasTold = true
    this.#isTold = true
  }

  async ask(xid: number): Promise<void> {
    if (this.#isTold) {
      this.#isTold = false
      await this.#questions.onTold?.(xid)
    }
    if (this.#announced.length === 0) return
    await this.#questions.onAnnounced?.(xid, this.#announced)
    this.#announced = []
  }

  /** The transaction in progress was taken back. */
  reset(): void {
    this.#announced = []
    this.#isTold = false
  }
}
