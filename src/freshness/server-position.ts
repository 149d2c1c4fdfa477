import type { Lsn } from '../change/lsn.js'

/** The position up to which the server has written its log, asked once for all who want to know at the same time. */
export class ServerPosition {
  readonly #ask: () => Promise<Lsn>
  #asked: Promise<Lsn> | null = null
  /** For those who came after it was asked. */
  #next: Promise<Lsn> | null = null

  constructor(ask: () => Promise<Lsn>) {
    this.#ask = ask
  }

  /** The position as of a time after the call. Rejects with what asking rejects with. */
  get(): Promise<Lsn> {
    if (this.#asked === null) return this.#start()
    this.#next ??= this.#asked
      .catch(() => undefined)
      .then(() => {
        this.#next = null
        return this.#start()
      })
    return this.#next
  }

  #start(): Promise<Lsn> {
    this.#asked = this.#ask().finally(() => {
      this.#asked = null
    })
    return this.#asked
  }
}
