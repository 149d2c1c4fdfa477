import type { Naming } from './declaration.js'

/** The column that `property` stands for: `isActive` is `is_active`, `HTTPStatus` is `http_status`. */
export function columnFor(property: string, naming: Naming): string {
  if (naming === 'exact') return property
  return property
    .replaceAll(/([\p{Ll}\d])(\p{Lu})/gu, '$1_$2')
    .replaceAll(/(\p{Lu})(\p{Lu}\p{Ll})/gu, '$1_$2')
    .toLowerCase()
}

/** The property that `column` becomes where none is declared: `is_active` is `isActive`. */
export function propertyFor(column: string, naming: Naming): string {
  if (naming === 'exact') return column
  return column.replaceAll(/(?<=[^_])_+([^_])/gu, (_, first: string) => first.toUpperCase())
}

const SUGGESTIONS_MAX = 3

/** Those of `candidates` that `name` may be a misspelling of, nearest first: for error messages. */
export function nearest(name: string, candidates: readonly string[]): string[] {
  const wanted = folded(name)
  const distanceMax = Math.max(1, Math.floor(wanted.length / 3))
  return candidates
    .map(candidate => ({ candidate, distance: editDistance(wanted, folded(candidate), distanceMax) }))
    .filter(({ distance }) => distance <= distanceMax)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, SUGGESTIONS_MAX)
    .map(({ candidate }) => candidate)
}

function folded(name: string): string {
  return name.toLowerCase().replaceAll('_', '')
}

/** Characters inserted, removed, replaced or swapped with their neighbour; more than `max` as soon as that is certain. */
function editDistance(a: string, b: string, max: number): number {
  if (Math.abs(a.length - b.length) > max) return max + 1
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swaps = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const swapped = swaps ? beforeLast[j - 2]! + 1 : Number.POSITIVE_INFINITY
      row[j] = Math.min(replaced, swapped, last[j]! + 1, row[j - 1]! + 1)
    }
    if (Math.min(...row) > max) return max + 1
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
