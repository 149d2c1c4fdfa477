import type { ChangeSink } from '../change/change.js'
import type { DecoderLimits } from '../change/limits.js'
import type { Relation } from '../change/relation.js'

/** What a decoder has to know about the stream before it begins. */
export interface DecoderContext {
  /** The publication, for output plugins that know publications. */
  readonly publication: string
  /** The tables wanted, as the catalogue has them, for output plugins that name tables or don't announce their shape. */
  readonly relations: readonly Relation[]
  /** Whether wal2json is to send numbers as text: it can from 2.6 on, and then NaN and the infinities are not lost. */
  readonly numbersAsText?: boolean
}

/**
 * Turns one output plugin's payloads into the standard change. It holds what the stream has announced so far,
 * so it belongs to one stream and one sink; `B` is what that sink remembers about a relation.
 */
export interface Decoder<B> {
  /** The output plugin's name, as `CREATE_REPLICATION_SLOT` wants it. */
  readonly plugin: string
  /** The options of `START_REPLICATION`, without their parentheses. */
  startOptions(): string
  /**
   * Hands the changes of one XLogData payload to `sink`, in WAL order, allocating nothing per row.
   *
   * The payload is `bytes[start, end)`. The tuples that the sink gets are views of `bytes`, good until the call returns.
   * `lsnHigh` and `lsnLow` are the frame's header position; on a commit, whatever the plugin, the commit's end.
   *
   * @throws {DecodeError} for a payload that is not what the plugin's format says. What was handed over before
   * stays handed over, so the stream is to be given up.
   */
  decode(
    lsnHigh: number,
    lsnLow: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    sink: ChangeSink<B>,
  ): void
  /** Forgets what was announced: a new stream begins, and announces everything again. */
  reset(): void
  /** Asks the sink once more about this relation, if it was announced: nobody wanted it then. Not there where tables can't be added to a stream. */
  readonly want?: (oid: number, sink: ChangeSink<B>) => void
}

/** Makes a decoder for one stream. */
export type DecoderFactory = <B>(context: DecoderContext) => Decoder<B>

/** A decoder as the list of decoders holds it. */
export interface DecoderKind {
  readonly limits: DecoderLimits
  /** Gets what the decoder needs: whatever is not loaded before somebody chooses it. */
  load(): Promise<DecoderFactory>
}
