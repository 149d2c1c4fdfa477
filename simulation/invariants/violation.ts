/** Something that has to hold at every moment does not. */
export class InvariantError extends Error {}

/** @throws {InvariantError} that says which one it is, and what is wrong. */
export function must(isTrue: boolean, invariant: string, what: () => string): void {
  if (!isTrue) throw new InvariantError(`Invariant ${invariant} does not hold: ${what()}`)
}
