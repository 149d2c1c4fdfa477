/** How the demo looks: numbered steps, aligned lines, colours on a terminal only. */
import { styleText } from 'node:util'
import { formatLsn, type TableChange } from '../../src/index.js'
import type { Person } from './person.js'

type Style = Parameters<typeof styleText>[0]

const colours = process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === ''

function styled(style: Style, text: string): string {
  return colours ? styleText(style, text) : text
}

export function title(text: string): void {
  console.log(styled('bold', text))
}

let steps = 0

export function step(title: string): void {
  steps++
  console.log(`\n${styled('cyan', String(steps).padStart(2))}  ${styled('bold', title)}`)
}

/** A line below a step. */
export function line(text: string): void {
  console.log(`    ${text}`)
}

/** A line of a name and a value, the values below each other. */
export function entry(name: string, value: string): void {
  line(`${styled('dim', name.padEnd(22))}${value}`)
}

/** The last word, in a line of its own. */
export function verdict(good: boolean, text: string): void {
  console.log(`\n${styled(good ? 'green' : 'red', text)}`)
}

export function describe(person: Person | null | undefined): string {
  if (person == null) return 'no row'
  const { id, name, age, email, isActive } = person
  return `#${id} ${name}, ${age}, ${email}, ${isActive ? 'active' : 'not active'}`
}

const columns = ['id', 'name', 'age', 'email', 'isActive'] as const
const operations = { insert: 'green', update: 'yellow', delete: 'red' } as const

/** A change in one line: the commit's position, the operation, the old row and the new one. */
export function describeChange(change: TableChange<Person>): string {
  if (change.kind === 'gap') return `changes were left out: ${change.reason}`
  const position = styled('dim', formatLsn(change.lsn).padEnd(12))
  if (change.kind === 'truncate') return `${position}${styled('red', 'truncate')}`
  return `${position}${styled(operations[change.kind], change.kind.padEnd(8))}${oldToNew(change.old ?? null, change.new ?? null)}`
}

function oldToNew(before: Person | null, after: Person | null): string {
  if (before === null || after === null) return `${describe(before)} -> ${describe(after)}`
  const changed = columns.filter(column => before[column] !== after[column])
  return `#${after.id} ${changed.map(column => `${column} ${before[column]} -> ${after[column]}`).join(', ')}`
}
