import type { DecoderFactory } from './decoder.js'
import { PgoutputDecoder } from './pgoutput.js'

export type { Decoder, DecoderContext, DecoderFactory } from './decoder.js'

/** Every decoder, by its output plugin's name. A new one is a file and a line here, which also enrols it in the conformance suite. */
export const decoders = {
  pgoutput: context => new PgoutputDecoder(context),
} as const satisfies Record<string, DecoderFactory>

export type DecoderName = keyof typeof decoders
