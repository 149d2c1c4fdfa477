/** One question about speed or size, answered side by side with what one would use instead. */
export interface Benchmark {
  readonly name: string
  readonly question: string
  /** What is measured too, to know how far off the possible we are. */
  readonly floor: string
  /** Checks its answers first, and again afterwards. @throws if one is wrong. */
  run(options: BenchmarkOptions): Promise<readonly Figure[]>
}

export interface BenchmarkOptions {
  /** How often each subject takes its turn; undefined: as often as the benchmark thinks right. */
  readonly rounds?: number
  /** The size of the table; undefined: what the benchmark thinks right, mostly 1,000,000. */
  readonly rows?: number
  /** How many keys that have no row are asked for; undefined: as many as the benchmark thinks right. */
  readonly absentKeys?: number
  /** Told what is going on, for people who wait. */
  readonly progress: (text: string) => void
}

export interface Figure {
  readonly what: string
  /** The median over all rounds. */
  readonly value: number
  readonly unit: string
  /** The lowest and the highest round. */
  readonly spread?: readonly [number, number]
  /** What it is compared with, by that one's `what`; null for a figure that stands by itself. */
  readonly against: string | null
  /**
   * How many times better than `against`: faster, or smaller. The median over rounds of two turns that followed each other, so that a
   * noisy neighbour slows both.
   */
  readonly ratio: number | null
  /** What is wanted of `ratio` where there is one, else of `value`. Never asserted: machines differ. */
  readonly goal?: string
}

export const ROWS = 1_000_000
