import type { Figure } from './benchmark.js'

/** Something that is measured: takes its turn once a round. */
export interface Subject {
  readonly name: string
  /** One measurement, in the subjects' common unit. */
  turn(): Promise<number>
}

/** What was measured of one subject, round by round. */
export type Measured = ReadonlyMap<string, readonly number[]>

/** Lets the subjects take turns, A B A B, after a round that does not count. */
export async function takeTurns(subjects: readonly Subject[], rounds: number): Promise<Measured> {
  const measured = new Map(subjects.map(({ name }) => [name, [] as number[]]))
  for (let round = -1; round < rounds; round++) {
    for (const { name, turn } of subjects) {
      const value = await turn()
      if (round >= 0) measured.get(name)!.push(value)
    }
  }
  return measured
}

export interface Comparison {
  readonly what: string
  readonly against?: string
  readonly goal?: string
}

/** What a figure is measured in, and which way is better. */
export interface Unit {
  readonly unit: string
  readonly better: 'more' | 'less'
}

export function figuresOf(
  measured: Measured,
  { unit, better }: Unit,
  comparisons: readonly Comparison[],
): Figure[] {
  return comparisons.map(({ what, against, goal }) => {
    const values = measured.get(what)!
    const others = against === undefined ? undefined : measured.get(against)!
    const ratios = others?.map((other, round) =>
      better === 'more' ? values[round]! / other : other / values[round]!,
    )
    return {
      what,
      value: median(values),
      unit,
      spread: [Math.min(...values), Math.max(...values)],
      against: against ?? null,
      ratio: ratios === undefined ? null : median(ratios),
      ...(goal === undefined ? {} : { goal }),
    }
  })
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
