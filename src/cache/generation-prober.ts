import { Prober, type ProberOptions } from '../freshness/probe.js'
import { tightestMs } from './bounds.js'
import type { GenerationBase } from './generation-context.js'
import { APPLICATION_NAME } from './options.js'
import { type Timers, unlessAborted } from '../runtime.js'

/** Probes come at a third of the allowed staleness, and at most this far apart. */
const INTERVAL_MAX_MS = 1_000
const INTERVAL_MIN_MS = 10
/** How long a read waits for a proof of its own. While a huge transaction is applied, none can be had. */
const PROOF_WAIT_MS = 1_000

/** Asks the server about a generation's tables, those that are added later among them. */
export function proberOf(
  { options, sessions, setup }: GenerationBase,
  hooks: Pick<ProberOptions, 'reached' | 'check' | 'onProven'>,
): Prober {
  const { walBlockBytes, walSegmentBytes } = setup.server
  return new Prober({
    ...hooks,
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

/** Resolves when the server's position of now is proven, or can't be soon. Rejects with the reason of `signal`, the reader's, when that aborts. */
export async function proveSoon(
  prober: Prober,
  timers: Timers,
  until: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<void> {
  // What the probe failed of, the generation's own next one meets as well, and tells.
  const proof = prober.prove(until).catch(() => undefined)
  let cancel: (() => void) | undefined
  const enough = new Promise<void>(resolve => {
    cancel = timers.after(PROOF_WAIT_MS, resolve)
  })
  try {
    await unlessAborted(Promise.race([proof, enough]), signal)
  } finally {
    cancel?.()
  }
}
