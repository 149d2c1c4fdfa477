/** A question that is asked once for all who want its answer at the same time. */
export class SharedQuestion<Answer> {
  readonly #ask: () => Promise<Answer>
  #asked: Promise<Answer> | null = null
  /** For those who came after it was asked. */
  #next: Promise<Answer> | null = null

  constructor(ask: () => Promise<Answer>) {
    this.#ask = ask
  }

  /** The answer as of a time after the call. Rejects with what asking rejects with. */
  get(): Promise<Answer> {
    if (this.#asked === null) return this.#start()
    this.#next ??= this.#asked
      .catch(() => undefined)
      .then(() => {
        this.#next = null
        return this.#start()
      })
    return this.#next
  }

  #start(): Promise<Answer> {
    this.#asked = this.#ask().finally(() => {
      this.#asked = null
    })
    return this.#asked
  }
}
