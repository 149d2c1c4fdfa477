import type { DecoderKind } from './decoder.js'
import { decoderbufsLimits, loadDecoderbufs } from './decoderbufs.js'
import { PgoutputDecoder, pgoutputLimits } from './pgoutput.js'
import { Wal2jsonDecoder, wal2jsonLimits } from './wal2json.js'

export type { Decoder, DecoderContext, DecoderFactory, DecoderKind } from './decoder.js'

/** Every decoder, by its output plugin's name. A new one is a file and a line here, which also enrols it in the conformance suite. */
export const decoders = {
  pgoutput: { limits: pgoutputLimits, load: async () => context => new PgoutputDecoder(context) },
  wal2json: { limits: wal2jsonLimits, load: async () => context => new Wal2jsonDecoder(context) },
  decoderbufs: { limits: decoderbufsLimits, load: loadDecoderbufs },
} as const satisfies Record<string, DecoderKind>

export type DecoderName = keyof typeof decoders
