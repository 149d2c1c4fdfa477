import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findDecoders } from '../../scripts/decoders.js'

const root = join(import.meta.dirname, '../..')

function simulate(...args: string[]): Promise<{ status: number; lines: string[]; stderr: string }> {
  return new Promise(resolve => {
    const command = ['--import', 'tsx', 'simulation/main.ts', ...args]
    execFile(process.execPath, command, { cwd: root, timeout: 60_000 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : Number(error.code)
      resolve({ status, lines: stdout.trimEnd().split('\n'), stderr })
    })
  })
}

test('the command ends with one line of JSON, and the same seed gives the same one', async () => {
  const runs = [await simulate('--seed', '5', '--steps', '30', '--json')]
  runs.push(await simulate('--seed', '5', '--steps', '30', '--major', '14', '--json'))
  const [one, other] = runs.map(({ status, lines, stderr }) => {
    expect([status, stderr]).toEqual([0, ''])
    return JSON.parse(lines.at(-1)!) as Record<string, unknown>
  })
  expect(Object.keys(one!)).toEqual([
    'seed',
    'decoder',
    'leftOut',
    'transactions',
    'changes',
    'comparisons',
    'mismatches',
    'historyHash',
    'changesHash',
  ])
  expect(one).toMatchObject({ seed: 5, decoder: 'pgoutput', leftOut: [], mismatches: 0 })
  expect(other!['historyHash']).toBe(one!['historyHash'])
  expect(other!['changesHash']).toBe(one!['changesHash'])
}, 90_000)

test('it says by name what the decoder can’t carry, and leaves that out', async ({ skip }) => {
  const found = await findDecoders()
  skip('missing' in found && process.env['CI'] !== 'true', 'wal2json is missing')
  const { status, lines, stderr } = await simulate('--decoder', 'wal2json', '--seed', '5', '--steps', '10')
  expect([status, stderr]).toEqual([0, ''])
  expect(lines.slice(0, 2)).toEqual([
    'Postgres 15, wal2json, history: 10 transactions, seed 5',
    "wal2json can't carry these, so the history is without: NaN and the infinities",
  ])
  const other = await simulate('--decoder', 'wal2json', '--major', '16')
  expect([other.status, other.stderr.split('\n')[0]]).toEqual([
    2,
    'wal2json is to be had for Postgres 15 only.',
  ])
}, 90_000)

test('the command explains itself, and what is wrong with its options', async () => {
  const help = await simulate('--help')
  expect([help.status, help.lines[0]]).toEqual([0, 'Usage: npm run simulate -- [options]'])
  const wrong = await simulate('--scenario', 'nonsense')
  expect([wrong.status, wrong.stderr.split('\n')[0]]).toEqual([
    2,
    '--scenario is one of history, faults, sql, tpcb, giant, bounded, audit, queries, reconnect, tokens, deterministic, every-frame, volume, all.',
  ])
  expect((await simulate('--sed', '1')).status).toBe(2)
})

test('a run is the same in one process and in two', async () => {
  const options = ['--scenario', 'deterministic', '--seed', '3', '--histories', '3', '--json']
  const [one, two] = [await simulate(...options), await simulate(...options, '--processes', '2')]
  expect([one.status, one.stderr, two.status, two.stderr]).toEqual([0, '', 0, ''])
  expect(JSON.parse(two.lines.at(-1)!)).toEqual(JSON.parse(one.lines.at(-1)!))
}, 120_000)
