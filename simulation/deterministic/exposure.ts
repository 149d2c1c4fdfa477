import type { DecoderName } from '../../src/decode/index.js'
import type { Coverage } from './coverage.js'
import type { FaultName } from './faults.js'
import type { Place } from './oracle.js'
import { type Cell, Pairs } from './pairs.js'
import type { PostgresModel } from './server/model.js'
import type { Transaction } from './server/transaction.js'

/** Which operations were under way when a fault struck: done, and not yet shown by the cache. */
export class Exposure {
  readonly pairs = new Pairs()
  readonly #decoder: DecoderName
  readonly #coverage: Coverage
  readonly #model: PostgresModel
  /** Where the cache is; null before there is one. */
  shown: () => Place | null = () => null

  constructor(decoder: DecoderName, coverage: Coverage, model: PostgresModel) {
    this.#decoder = decoder
    this.#coverage = coverage
    this.#model = model
  }

  struck(fault: FaultName): void {
    this.pairs.struck(fault, this.#decoder, this.#underWay())
  }

  /** What the transaction has done. */
  committed(transaction: Transaction): ReadonlySet<Cell> {
    const cells = this.#coverage.exposed.get(transaction) ?? new Set()
    this.pairs.committed(this.#decoder, cells)
    return cells
  }

  #underWay(): Set<Cell> {
    const { exposed } = this.#coverage
    const place = this.shown()
    const shown = place?.timeline === this.#model.timeline ? place.lsn : -1
    const cells = new Set<Cell>()
    for (const [transaction, of] of exposed) {
      const isOver = transaction.end === 0 ? !this.#model.has(transaction) : transaction.end <= shown
      if (isOver) exposed.delete(transaction)
      else for (const cell of of) cells.add(cell)
    }
    return cells
  }
}
