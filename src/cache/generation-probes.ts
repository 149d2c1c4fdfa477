import { type ProbeAnswer, Prober, type ProberOptions } from '../freshness/probe.js'
import { unlessAborted } from '../runtime.js'
import { tightestMs } from './bounds.js'
import type { GenerationBase } from './generation-context.js'
import { APPLICATION_NAME } from './options.js'

/** Probes come at a third of the allowed staleness, and at most this far apart. */
const INTERVAL_MAX_MS = 1_000
const INTERVAL_MIN_MS = 10
/** How long a read waits for a proof of its own. While a huge transaction is applied, none can be had. */
const PROOF_WAIT_MS = 1_000

export interface ProbesHost extends Pick<ProberOptions, 'reached' | 'check' | 'onProven'> {
  /** Whether nothing can be proven of the tables any more. */
  readonly isDoubted: () => boolean
}

/** What the server is asked about a generation's tables, those that are added later among them, while its stream runs. */
export class GenerationProbes {
  readonly #base: GenerationBase
  readonly #host: ProbesHost
  #prober: Prober
  /** Aborts when the stream ends; null before it runs. */
  #until: AbortSignal | null = null

  constructor(base: GenerationBase, host: ProbesHost) {
    this.#base = base
    this.#host = host
    this.#prober = proberOf(base, host)
  }

  /** The stream goes on, maybe at another server: nothing that was found out about the old one holds. */
  renew(): void {
    this.#prober = proberOf(this.#base, this.#host)
  }

  /** Probes until `until` aborts. Rejects only with what ends the generation. */
  async run(until: AbortSignal): Promise<void> {
    this.#until = until
    await this.#prober.run(until)
  }

  /**
   * Asks the server now. Resolves when what it had committed is visible, or when that can't be had soon: what has been proven is the gate's
   * to say. Rejects with the signal's reason when it aborts.
   */
  async prove(signal: AbortSignal | undefined): Promise<void> {
    const until = this.#until
    if (until === null || until.aborted) return
    // What the probe failed of, the generation's own next one meets as well, and tells.
    const proof = this.#prober.prove(until).catch(() => undefined)
    let cancel: (() => void) | undefined
    const enough = new Promise<void>(resolve => {
      cancel = this.#base.options.runtime.timers.after(PROOF_WAIT_MS, resolve)
    })
    try {
      await unlessAborted(Promise.race([proof, enough]), signal)
    } finally {
      cancel?.()
    }
  }

  /**
   * Null if the stream tells everything. Else resolves when what was committed before the call, and is not told, has been looked for: if there
   * was any, nothing is proven of the tables any more. Rejects if that can't be found out now.
   */
  lookForUntold(): Promise<void> | null {
    if (this.#base.setup.files === null) return null
    return this.#prober.check().catch((error: unknown) => {
      if (!this.#host.isDoubted()) throw error
    })
  }

  /** Asks now, and has the answer judged; null if there is none this time. Rejects with what ends the generation. */
  look(signal: AbortSignal): Promise<ProbeAnswer | null> {
    return this.#prober.look(signal)
  }

  /** Something has happened that may concern the server: it is looked at now. */
  suspect(): void {
    this.#prober.suspect()
  }

  /** A commit has come that says nothing of the tables: what it may have done to them all the same is looked for now. */
  silent(): void {
    this.#prober.silent()
  }

  /** Has the server flush what is committed but not sent: somebody waits for it, until `signal` aborts, or the stream ends. */
  nudge(signal: AbortSignal | null = this.#until): void {
    if (signal !== null) this.#prober.nudge(signal)
  }

  /** Whether it had something to flush when it was last asked to. */
  get flushesLate(): boolean {
    return this.#prober.flushesLate
  }
}

function proberOf({ options, sessions, setup }: GenerationBase, host: ProbesHost): Prober {
  const { walBlockBytes, walSegmentBytes } = setup.server
  return new Prober({
    ...host,
    runtime: options.runtime,
    logger: options.logger,
    get intervalMs() {
      const third = tightestMs(setup.mappings, options) / 3
      return Math.max(INTERVAL_MIN_MS, Math.min(third, INTERVAL_MAX_MS))
    },
    target: {
      serverVersion: setup.server.version,
      get tableOids() {
        return setup.mappings.map(({ oid }) => oid)
      },
      publication: setup.publication,
      withFiles: setup.files !== null,
      applicationName: APPLICATION_NAME,
      walBlockBytes,
      walSegmentBytes,
    },
    run: (work, signal) => sessions.run(work, signal),
  })
}
