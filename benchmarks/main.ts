/**
 * `npm run bench -- NAME [--json] [--rows N] [--rounds N] [--absent-keys N]`: measures walcache beside what one would use instead.
 *
 * Exits with another code than 0 only if an answer was wrong or could not be had; what is slow is for the reader to judge.
 */
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { apply } from './apply.js'
import { bounded } from './bounded.js'
import { feed } from './feed.js'
import { giant } from './giant.js'
import { latency } from './latency.js'
import { load } from './load.js'
import { memory } from './memory.js'
import { query } from './query.js'
import { read } from './read.js'
import type { Benchmark, BenchmarkOptions, Figure } from './support/benchmark.js'
import { table } from './support/report.js'
import { web } from './web.js'

const benchmarks: readonly Benchmark[] = [
  read,
  query,
  apply,
  load,
  memory,
  latency,
  giant,
  bounded,
  feed,
  web,
]

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    rows: { type: 'string' },
    rounds: { type: 'string' },
    'absent-keys': { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

const [name] = positionals
const chosen = benchmarks.find(benchmark => benchmark.name === name)
if (given.help) console.log(help())
else if (name === 'all') runAll()
else if (chosen === undefined) {
  console.error(help())
  process.exitCode = 2
} else await run(chosen)

function help(): string {
  const names = benchmarks.map(({ name: each, question }) => `  ${each.padEnd(8)} ${question}`)
  return [
    'npm run bench -- NAME [--json] [--rows N] [--rounds N] [--absent-keys N]',
    '',
    ...names,
    '  all      each of them, in a process of its own',
    '',
    '--rows is the size of the large table, usually 1,000,000; --json makes the last line an object of all figures.',
    '--absent-keys is how many keys without a row the bounded benchmark asks for, usually 1,000,000.',
  ].join('\n')
}

async function run(benchmark: Benchmark): Promise<void> {
  const options: BenchmarkOptions = {
    ...(given.rows === undefined ? {} : { rows: positive('rows', given.rows) }),
    ...(given.rounds === undefined ? {} : { rounds: positive('rounds', given.rounds) }),
    ...(given['absent-keys'] === undefined
      ? {}
      : { absentKeys: positive('absent-keys', given['absent-keys']) }),
    progress: text => console.error(`${benchmark.name}: ${text} ...`),
  }
  const figures = await benchmark.run(options)
  if (!given.json) console.log(`\n${table(benchmark, figures)}`)
  else printJson(benchmark.name, figures)
}

/** One process each: what one leaves behind, in the heap or in compiled code, must not slow the next. */
function runAll(): void {
  const figures: Figure[] = []
  for (const benchmark of benchmarks) {
    const options = process.argv.slice(2).filter(argument => argument !== 'all')
    const child = spawnSync(
      process.execPath,
      [...process.execArgv, import.meta.filename, benchmark.name, ...options],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        encoding: 'utf8',
      },
    )
    if (child.status !== 0) {
      console.error(`${benchmark.name} failed.`)
      process.exitCode = 1
    } else if (given.json) {
      const result = JSON.parse(child.stdout.trimEnd().split('\n').at(-1)!) as { rows: Figure[] }
      figures.push(...result.rows.map(row => ({ ...row, what: `${benchmark.name}: ${row.what}` })))
    } else console.log(child.stdout)
  }
  if (given.json) printJson('all', figures)
}

function printJson(of: string, rows: readonly Figure[]): void {
  console.log(JSON.stringify({ name: of, rows }))
}

function positive(option: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value <= 0)
    throw new Error(`--${option} wants a positive integer, not ${text}.`)
  return value
}
