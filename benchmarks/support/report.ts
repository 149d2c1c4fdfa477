import { cpus, release, totalmem } from 'node:os'
import type { Benchmark, Figure } from './benchmark.js'

/** The figures as people read them. */
export function table({ name, question, floor }: Benchmark, figures: readonly Figure[]): string {
  const rows = figures.map(({ what, value, unit, spread, against, ratio, goal }) => [
    what,
    `${short(value)} ${unit}`,
    spread === undefined ? '' : `${short(spread[0])} .. ${short(spread[1])}`,
    ratio === null ? '' : `${short(ratio)} x`,
    against ?? '',
    goal ?? '',
  ])
  const lines = align([['', 'median', 'lowest .. highest', 'times', 'of', 'goal'], ...rows])
  return [`${name}: ${question}`, `Floor: ${floor}`, machine(), '', ...lines, ''].join('\n')
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  return rows.map(row => {
    const cells = row.map((cell, column) => {
      const isNumber = column >= 1 && column <= 3
      return isNumber ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
    })
    return cells.join('  ').trimEnd()
  })
}

function machine(): string {
  const [cpu] = cpus()
  const gib = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} x ${cpu?.model.trim()}, ${gib} GiB, ${process.platform} ${release()}, Node ${process.version}`
}

/** Three digits that count. */
function short(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}
