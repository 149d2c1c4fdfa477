/** The table of types in docs/decoders.md, as the limits and the type matrix have it. */
import type { DecoderLimits, LostTypes } from '../../src/change/limits.js'
import { decoders } from '../../src/decode/index.js'
import { decoderNames } from './installed.js'
import { SCALARS } from './type-list.js'

const REFUSED: Readonly<Record<NonNullable<LostTypes['mendedBy']>, string>> = {
  finite: 'refused, unless `assumeFinite` or `textNumbersOption`',
  utc: 'exact in UTC, else refused',
}

/** What becomes of a type, with each decoder. */
function fates(typeOid: number): string[] {
  return decoderNames.map(name => {
    const { lostTypes }: DecoderLimits = decoders[name].limits
    const lost = lostTypes.find(({ oids }) => oids.includes(typeOid))
    if (lost === undefined) return 'exact'
    return lost.mendedBy === null ? 'refused' : REFUSED[lost.mendedBy]
  })
}

/** A row for each fate that a type may have: the types that some decoder loses first, then all others, then arrays of any. */
export function typeRows(oids: ReadonlyMap<string, number>): string {
  const byFate = new Map<string, Set<string>>()
  for (const { type, kind } of [...SCALARS].sort(
    (a, b) => Number(a.kind !== undefined) - Number(b.kind !== undefined),
  )) {
    const fate = fates(oids.get(type)!).join(' | ')
    const label = kind ?? `\`${/^"?\w+"?/.exec(type)![0]}\``
    byFate.set(fate, (byFate.get(fate) ?? new Set()).add(label))
  }
  const arrays = new Set(SCALARS.map(({ type }) => fates(oids.get(`${type}[]`)!).join(' | ')))
  const exact = decoderNames.map(() => 'exact').join(' | ')
  const lost = [...byFate].filter(([fate]) => fate !== exact)
  return [
    `| type | ${decoderNames.map(name => `\`${name}\``).join(' | ')} |`,
    `|${'---|'.repeat(decoderNames.length + 1)}`,
    ...[...lost, [exact, byFate.get(exact)!] as const].map(
      ([fate, types]) => `| ${[...types].join(', ')} | ${fate} |`,
    ),
    ...[...arrays].map(fate => `| arrays of all of these | ${fate} |`),
  ].join('\n')
}
