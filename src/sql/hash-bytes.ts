/** The hash of some bytes, an unsigned 32-bit integer. `seed` keeps others from choosing keys that collide. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed
  for (let i = start; i < end; i++) {
    hash = Math.imul(hash ^ bytes[i]!, 0x5bd1e995)
    hash ^= hash >>> 15
  }
  return mixed(hash)
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
