import { ConnectionError, DivergedError, SetupError } from '../errors.js'
import { tablesInOtherFiles } from '../freshness/files.js'
import type { ProbeAnswer } from '../freshness/probe.js'
import { synchronousStandby } from './standby-names.js'
import type { Setup } from './setup.js'

export interface ServerCheckHost {
  readonly setup: Setup
  /** The output plugin, for messages. */
  readonly decoder: string
  /** What the answer says of the tables' shapes is judged. Throws what ends the generation. */
  readonly checkTables: (answer: ProbeAnswer) => void
  /** The tables are found to show no commit's state. */
  readonly onDoubted: () => void
}

/** Whether the server that answers is the one that the tables were loaded from, and nothing has happened there that the stream does not tell. */
export class ServerCheck {
  readonly #host: ServerCheckHost
  #startedAt: string | null = null
  #isDoubted = false

  constructor(host: ServerCheckHost) {
    this.#host = host
  }

  /** The server's start time; null before it was first heard of. */
  get startedAt(): string | null {
    return this.#startedAt
  }

  /** Nothing is proven of the tables any more. */
  get isDoubted(): boolean {
    return this.#isDoubted
  }

  /** The stream goes on at a server that was started then. Returns whether it has been running all the time. */
  resumed(startedAt: string): boolean {
    const isSame = startedAt === this.#startedAt
    this.#startedAt = startedAt
    return isSame
  }

  /** @throws {CacheError} what ends the generation although the stream says nothing. */
  judge(answer: ProbeAnswer): void {
    const { files } = this.#host.setup
    this.#startedAt ??= answer.startedAt
    if (answer.inRecovery || answer.startedAt !== this.#startedAt)
      throw new ConnectionError(
        'lost',
        'The server was restarted or replaced by another one. The cache is being loaded anew.',
        true,
      )
    if (files !== null && answer.files !== files) throw this.#otherFiles(files, answer.files)
    this.#host.checkTables(answer)
    if (answer.synchronous) throw new SetupError([synchronousStandby])
  }

  /** A table was truncated, which the stream does not tell; or only rewritten, as by VACUUM FULL, which can't be told apart. */
  #otherFiles(before: string, now: string | null): DivergedError {
    const { setup, decoder } = this.#host
    this.doubt()
    const oids = tablesInOtherFiles(before, now ?? '')
    const names = setup.mappings.filter(({ oid }) => oids.includes(oid)).map(({ name }) => name)
    return new DivergedError(
      names.join(', '),
      `it was truncated, or else rewritten; ${decoder} does not tell which.`,
    )
  }

  doubt(): void {
    this.#isDoubted = true
    this.#host.onDoubted()
  }

  /** What contradicts the tables may well be what followed an untold TRUNCATE. */
  contradicted(error: unknown): void {
    if (error instanceof DivergedError && this.#host.setup.files !== null) this.doubt()
  }
}
