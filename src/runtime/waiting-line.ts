/** Who waits for a turn, first come, first served. How many may is its owner's to say. */
export class WaitingLine {
  readonly #turns: (() => void)[] = []

  get length(): number {
    return this.#turns.length
  }

  /** Resolves when it is the caller's turn. Rejects with the signal's reason when it aborts before, and the caller is in the line no more. */
  wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal?.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = (): void => {
        this.#turns.splice(this.#turns.indexOf(go), 1)
        reject(signal!.reason as Error)
      }
      this.#turns.push(go)
      signal?.addEventListener('abort', giveUp, { once: true })
    })
  }

  /** It is the turn of the one who has waited longest; false if nobody waits. */
  next(): boolean {
    const go = this.#turns.shift()
    go?.()
    return go !== undefined
  }
}
