/**
 * Random numbers that a seed decides, the same on every machine: sfc32 (PractRand), seeded through splitmix32.
 *
 * One instance is one sequence: whoever draws shifts what all later draws give. What must not disturb a history (the
 * checks made on the way) draws from a `fork`.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(readonly seed: number) {
    const next = splitmix32(seed)
    this.#a = next()
    this.#b = next()
    this.#c = next()
    for (let warmUp = 0; warmUp < 12; warmUp++) this.uint32()
  }

  /** Another sequence, decided by this one's seed and `salt` alone. */
  fork(salt: number): Random {
    return new Random(splitmix32(this.seed ^ Math.imul(salt, 0x9e37_79b9))())
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** An integer from 0 up to, but not including, `bound`. */
  below(bound: number): number {
    return Math.floor((this.uint32() / 0x1_0000_0000) * bound)
  }

  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  /** True once in `1 / probability` calls, on average. */
  chance(probability: number): boolean {
    return this.uint32() < probability * 0x1_0000_0000
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new RangeError('There is nothing to pick from.')
    return choices[this.below(choices.length)]!
  }

  /** One of the names, as often as its weight says. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const names = Object.keys(weights) as Name[]
    let left = this.below(names.reduce((sum, name) => sum + weights[name], 0))
    return names.find(name => (left -= weights[name]) < 0)!
  }

  /** `choices` without repetition, at most `count` of them, in their own order. */
  sample<T>(choices: readonly T[], count: number): T[] {
    const chosen = new Set<number>()
    while (chosen.size < Math.min(count, choices.length)) chosen.add(this.below(choices.length))
    return choices.filter((_, index) => chosen.has(index))
  }
}

function splitmix32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e37_79b9) | 0
    let mixed = state ^ (state >>> 16)
    mixed = Math.imul(mixed, 0x21f0_aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a_2d97)
    return mixed ^ (mixed >>> 15)
  }
}
