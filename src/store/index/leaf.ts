/** Entries of one leaf, at most. */
export const LEAF_ENTRIES = 256

/** Entries side by side, in order: for each the numbers of its key, and its row. */
export class Leaf {
  readonly keys: Float64Array
  readonly rows = new Uint32Array(LEAF_ENTRIES)
  count = 0

  constructor(width: number) {
    this.keys = new Float64Array(LEAF_ENTRIES * width)
  }
}

/** How the first `parts` numbers of the key at `at` compare with those of `key`. */
export function compareParts(
  keys: Float64Array,
  at: number,
  width: number,
  key: Float64Array,
  parts: number,
): number {
  const start = at * width
  for (let i = 0; i < parts; i++) {
    const a = keys[start + i]!
    const b = key[i]!
    if (a < b) return -1
    if (a > b) return 1
  }
  return 0
}
