import type { Duplex } from 'node:stream'
import type pg from 'pg'
import { asError, assert } from '../errors.js'
import { MessageReader } from './message-reader.js'

/** Above this the socket is no longer read, so that the server waits for us instead of filling our memory. */
const HIGH_WATER_BYTES = 1024 * 1024
/** Below this it is read again. */
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2

/** What `pg` calls on a query, of which it declares only `submit`. */
interface PgQuery extends pg.Submittable {
  handleError(error: unknown): void
  handleCommandComplete(): void
  handleReadyForQuery(): void
}

/**
 * `COPY ... TO STDOUT` as a query of a `pg` client. While it runs it stands between the socket and `pg`'s parser: rows wait here until they
 * are taken, everything else goes on to `pg`, which tells how the query ended.
 */
export class CopyOut extends MessageReader implements PgQuery {
  readonly #sql: string
  #stream: Duplex | null = null
  #parse: (bytes: Buffer) => void = () => undefined
  readonly #listener = (chunk: Buffer) => this.#receive(chunk)
  /** CopyData messages that lie one behind the other in the chunk that is being read. */
  #run: Buffer | null = null
  #runStart = 0
  #runEnd = 0
  readonly #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #isPaused = false
  #isComplete = false
  #error: Error | null = null
  #wake: () => void = () => undefined

  constructor(sql: string) {
    super('The answer to COPY')
    this.#sql = sql
  }

  /** The rows, as whole CopyData messages, many at a time. Throws what ended the query early. */
  async *rows(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (this.#error !== null) throw this.#error
      const rows = this.#waiting.shift()
      if (rows !== undefined) {
        this.#waitingBytes -= rows.length
        if (this.#isPaused && this.#waitingBytes <= LOW_WATER_BYTES) this.#resume()
        yield rows
      } else if (this.#isComplete) return
      else
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
    }
  }

  submit(connection: pg.Connection): void {
    const { stream } = connection
    const listeners = stream.listeners('data') as ((bytes: Buffer) => void)[]
    assert(listeners.length === 1, 'only pg’s parser reads its socket')
    this.#parse = listeners[0]!
    this.#stream = stream
    stream.removeListener('data', this.#parse)
    stream.on('data', this.#listener)
    connection.query(this.#sql)
  }

  #receive(chunk: Buffer): void {
    try {
      this.read(chunk)
      this.#endRun()
      if (this.#stream === null) this.#parse(this.takeRest())
    } catch (error) {
      this.handleError(error)
    }
    this.#wake()
    if (this.#waitingBytes >= HIGH_WATER_BYTES && this.#stream !== null) {
      this.#isPaused = true
      this.#stream.pause()
    }
  }

  protected override copyData(bytes: Buffer, start: number, end: number): void {
    if (this.#run !== bytes || this.#runEnd !== start) {
      this.#endRun()
      this.#run = bytes
      this.#runStart = start
    }
    this.#runEnd = end
  }

  #endRun(): void {
    if (this.#run === null) return
    const rows = this.#run.subarray(this.#runStart, this.#runEnd)
    this.#run = null
    this.#waiting.push(rows)
    this.#waitingBytes += rows.length
  }

  protected override other(message: Buffer): void {
    this.#parse(message)
  }

  #resume(): void {
    this.#isPaused = false
    this.#stream?.resume()
  }

  /** Gives the socket back to `pg`. Only whole messages went to its parser, so it goes on at a message's border. */
  #release(): void {
    const stream = this.#stream
    if (stream === null) return
    stream.removeListener('data', this.#listener)
    stream.on('data', this.#parse)
    if (this.#isPaused) this.#resume()
    this.#stream = null
  }

  handleCommandComplete(): void {
    // Its number of rows is of no use: they have been counted.
  }

  handleReadyForQuery(): void {
    this.#isComplete = true
    this.#release()
    this.#wake()
  }

  handleError(error: unknown): void {
    this.#error ??= asError(error)
    this.#waiting.length = 0
    this.#release()
    this.#wake()
  }
}
