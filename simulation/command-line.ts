/** What the person at the terminal has got wrong. */
export class UsageError extends Error {}

/** @throws {UsageError} */
export function wholeNumber(option: string, text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number < 2 ** 32) return number
  throw new UsageError(`${option} is a whole number below 2^32.`)
}

/** What a run has counted, by name. */
export type Report = Readonly<Record<string, unknown>>

/** Two reports as one: numbers are added, also within, and of everything else the later one's stands. */
export function sumOf(one: Report, other: Report): Report {
  const sums: Record<string, unknown> = { ...one }
  for (const [name, value] of Object.entries(other)) {
    const before = sums[name]
    if (typeof value === 'number' && typeof before === 'number') sums[name] = before + value
    else if (isReport(value) && isReport(before)) sums[name] = sumOf(before, value)
    else sums[name] = value
  }
  return sums
}

function isReport(value: unknown): value is Report {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** How a run has ended, for people, and as one line of JSON if that is wanted. */
export function printReport(report: object, isEqual: boolean, startedAt: number, json: boolean): void {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  const counts = Object.entries(report).map(([name, value]) => `${name} ${textOf(value)}`)
  console.log(`${isEqual ? 'Equal' : 'NOT equal'} after ${seconds} s: ${counts.join(', ')}`)
  if (json) console.log(JSON.stringify(report))
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'nothing' : value.join(' and ')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
