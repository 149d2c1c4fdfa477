import { MemoryLimitError } from '../errors.js'

/** How many bytes all tables together hold and may hold. */
export class MemoryBudget {
  #used = 0
  constructor(readonly limitBytes: number) {}

  get usedBytes(): number {
    return this.#used
  }

  tryTake(bytes: number): boolean {
    if (this.#used + bytes > this.limitBytes) return false
    this.#used += bytes
    return true
  }

  give(bytes: number): void {
    this.#used -= bytes
  }
}

/** What one table holds: asked before each page, so that a limit is met before the memory is taken. */
export class MemoryAccount {
  #used = 0
  constructor(
    readonly table: string,
    readonly limitBytes: number,
    readonly budget: MemoryBudget,
  ) {}

  get usedBytes(): number {
    return this.#used
  }

  /** @throws {MemoryLimitError} if the table, or all together, would hold more than allowed. */
  take(bytes: number): void {
    if (this.#used + bytes > this.limitBytes) throw this.full(this.limitBytes)
    if (!this.budget.tryTake(bytes)) throw this.full(this.budget.limitBytes)
    this.#used += bytes
  }

  /** @throws {MemoryLimitError} if there is no room for so much. Nothing is taken. */
  mustHave(bytes: number): void {
    this.take(bytes)
    this.give(bytes)
  }

  give(bytes: number): void {
    this.#used -= bytes
    this.budget.give(bytes)
  }

  /** The error for a table that would need more than `limitBytes`. */
  full(limitBytes: number): MemoryLimitError {
    return new MemoryLimitError(this.table, limitBytes)
  }
}
