/**
 * A hash over everything that happens in a run, in order: two runs of one seed are the same exactly if theirs are. 64 bits, FNV-1a in two
 * halves: cheap enough to note every frame.
 */
export class Trace {
  #a = 0x811c_9dc5
  #b = 0x9dc5_811c
  /** The newest notes, for people; empty unless they are wanted. */
  readonly lines: string[] = []
  readonly #linesMax: number

  constructor(linesMax = 0) {
    this.#linesMax = linesMax
  }

  number(value: number): void {
    this.#mix(value | 0)
    // The upper part of a position, or of a time in fractions of a millisecond.
    this.#mix(Math.floor(value / 0x1_0000_0000) ^ Math.floor((value % 1) * 0x10_0000))
  }

  text(value: string): void {
    for (let i = 0; i < value.length; i++) this.#mix(value.charCodeAt(i))
    this.#mix(value.length)
  }

  bytes(value: Uint8Array): void {
    const whole = value.length & ~3
    let i = 0
    for (; i < whole; i += 4)
      this.#mix(value[i]! | (value[i + 1]! << 8) | (value[i + 2]! << 16) | (value[i + 3]! << 24))
    for (; i < value.length; i++) this.#mix(value[i]!)
    this.#mix(value.length)
  }

  /** Something that happened at a time. The detail is made only if somebody reads it. */
  event(atMs: number, name: string, detail?: () => string): void {
    this.text(name)
    this.number(atMs)
    if (this.#linesMax === 0) return
    this.lines.push(`${atMs.toFixed(3)} ${name}${detail === undefined ? '' : ` ${detail()}`}`)
    if (this.lines.length > this.#linesMax) this.lines.shift()
  }

  get hash(): string {
    const half = (value: number): string => (value >>> 0).toString(16).padStart(8, '0')
    return half(this.#a) + half(this.#b)
  }

  #mix(value: number): void {
    this.#a = Math.imul(this.#a ^ value, 0x0100_0193)
    this.#b = Math.imul(this.#b ^ (value + (this.#a >>> 7)), 0x0100_0193)
  }
}
