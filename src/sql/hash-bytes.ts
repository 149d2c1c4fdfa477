const OTHER_SEED = 0x9e3779b1

/**
 * The hash of some bytes, an unsigned 32-bit integer. `seed` keeps others from choosing keys that collide.
 *
 * Four bytes at a time go into two sums. One alone would not do: what differs in the highest bit of a word only makes a known difference, whatever the
 * seed, which the next word can take back. In the other sum that bit stands in the middle. Hot: once per cold read and per change.
 */
export function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  // The length is in it, so that the last bytes need not be told from such as have zeros before them.
  let one = seed ^ (end - start)
  let other = Math.imul(seed, OTHER_SEED)
  let at = start
  for (const whole = end - 3; at < whole; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    one = stirred(one ^ word)
    other = stirred(other ^ turned(word))
  }
  if (at < end) {
    let word = 0
    while (at < end) word = (word << 8) | bytes[at++]!
    one = stirred(one ^ word)
    other = stirred(other ^ turned(word))
  }
  return mixed(one ^ Math.imul(other, OTHER_SEED))
}

function turned(word: number): number {
  return (word << 16) | (word >>> 16)
}

function stirred(sum: number): number {
  const product = Math.imul(sum, 0x5bd1e995)
  return product ^ (product >>> 15)
}

function mixed(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (once ^ (once >>> 16)) >>> 0
}

const double = new Float64Array(1)
const halves = new Uint32Array(double.buffer)

/** As `hashBytes`, of a number. */
export function hashNumber(value: number, seed: number): number {
  double[0] = value
  return mixed(Math.imul(seed ^ halves[0]!, 0x5bd1e995) ^ halves[1]!)
}
