import type { BoundRelation } from '../apply/binding.js'
import type { Decoder } from '../decode/decoder.js'
import { within } from '../runtime.js'
import type { LeftOff } from '../source/resume.js'
import { type ResumedSource, resumeSlotSource } from '../source/slot-source.js'
import { noAnswer } from '../wire/connect-errors.js'
import type { GenerationBase } from './generation-context.js'
import type { ServerCheck } from './server-check.js'
import { readFingerprint } from './setup.js'
import type { TableWatch } from './table-watch.js'

/** How long the tables may take to be looked at before a stream is gone on with: an idle session may have died with it, unnoticed. */
const RESUME_LOOK_MS = 5_000

/** A generation whose stream has ended. */
export interface Halted {
  readonly base: GenerationBase
  readonly decoder: Decoder<BoundRelation>
  readonly watch: TableWatch
  readonly server: ServerCheck
  readonly left: LeftOff
}

/**
 * The source that goes on where the stream was cut off, if the tables are what they were, and the server is shown to be the same and to have kept
 * everything; else why everything has to be loaded anew.
 *
 * @throws {CacheError} if that can't be found out now. Rejects with the signal's reason when it aborts.
 */
export async function resumeSource(
  { base, decoder, watch, server, left }: Halted,
  signal: AbortSignal,
): Promise<ResumedSource<BoundRelation> | string> {
  const { options, connections, sessions, setup, slot } = base
  if (slot === null) return 'a temporary slot goes with its connection'
  const now = await within(
    options.runtime.timers,
    RESUME_LOOK_MS,
    signal,
    () => noAnswer(RESUME_LOOK_MS),
    limited => sessions.run(session => readFingerprint(session, setup, setup.files !== null), limited),
  )
  const obstacle = watch.obstacle(now.fingerprint)
  if (obstacle !== null) return obstacle
  if (now.files !== setup.files) {
    server.doubt()
    return 'a table was truncated or rewritten meanwhile'
  }
  const sourceOptions = { decoder, logger: options.logger, durable: slot }
  return resumeSlotSource(connections, options.runtime, sourceOptions, left, signal)
}
