import type { DecoderLimits } from '../../src/change/limits.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import type { TestDatabase } from '../support/servers.js'

export const decoderNames = Object.keys(decoders) as DecoderName[]

/** What a test's context has to skip it. */
export type Skip = (condition: boolean, note: string) => void

/** Skips a test whose output plugin the server does not have; in CI it has them all, and the test fails if not. */
export function skipUnlessInstalled({ server }: TestDatabase, name: DecoderName, skip: Skip): void {
  skip(!server.decoders.includes(name) && process.env['CI'] !== 'true', `the server has no ${name}`)
}

/** The decoders of which `has` holds. */
export function decodersThat(has: (limits: DecoderLimits) => boolean): DecoderName[] {
  return decoderNames.filter(name => has(decoders[name].limits))
}
