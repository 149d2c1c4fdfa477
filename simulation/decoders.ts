import type { DecoderLimits } from '../src/change/limits.js'
import { type DecoderName, decoders } from '../src/decode/index.js'
import type { OpenCacheOptions } from '../src/index.js'

export const decoderNames = Object.keys(decoders) as readonly DecoderName[]

/** What a history has that not every decoder can carry. */
export const oddities = ['TRUNCATE', 'NaN and the infinities'] as const
export type Oddity = (typeof oddities)[number]

/** What this decoder can't carry. */
export function notCarriedBy(decoder: DecoderName): Oddity[] {
  const { truncate, lostTypes }: DecoderLimits = decoders[decoder].limits
  const carried: Record<Oddity, boolean> = {
    TRUNCATE: truncate,
    'NaN and the infinities': lostTypes.every(({ mendedBy }) => mendedBy !== 'finite'),
  }
  return oddities.filter(oddity => !carried[oddity])
}

/** What may be vouched for where `notCarriedBy` is left out. */
export function assumptionsFor(decoder: DecoderName): Pick<OpenCacheOptions, 'assumeFinite'> {
  return { assumeFinite: notCarriedBy(decoder).includes('NaN and the infinities') }
}
