import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { decoderNames, skipUnlessInstalled } from '../conformance/installed.js'
import { serverFor } from '../support/postgres.js'
import { testDatabase } from '../support/servers.js'

const root = join(import.meta.dirname, '../..')
const run = promisify(execFile)

/** Rejects unless the demo ends by itself with exit code 0. */
async function demo(databaseUrl: string | undefined, ...args: readonly string[]): Promise<string[]> {
  const { DATABASE_URL: _, ...environment } = process.env
  const { stdout, stderr } = await run(
    process.execPath,
    ['--import', 'tsx', 'examples/demo/main.ts', '--seed', '7', ...args],
    {
      cwd: root,
      env: databaseUrl === undefined ? environment : { ...environment, DATABASE_URL: databaseUrl },
      timeout: 60_000,
    },
  )
  expect(stderr).toBe('')
  return stdout.trimEnd().split('\n')
}

/** Names, ages and addresses, without positions in the log, which each run has its own. */
const inserted = (lines: readonly string[]) =>
  lines.filter(line => line.includes('insert')).map(line => line.replace(/^\s*\S+/, ''))

describe('the demo', () => {
  test('shows ten steps on a PostgreSQL of its own, and ends with memory equal to the table', async () => {
    const lines = await demo(undefined)
    expect(lines.at(-1)).toBe('Memory equals the table.')
    const steps = lines.map(line => /^ ?(\d+) {2}\S/.exec(line)?.[1]).filter(number => number !== undefined)
    expect(steps).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9', '10'])
    expect(inserted(lines)).toHaveLength(20)
    expect(lines.filter(line => /^ +[0-9A-F]+\/[0-9A-F]+ +update +#\d+ .+ -> /.test(line))).toHaveLength(2)
    expect(
      lines.filter(line => /^ +[0-9A-F]+\/[0-9A-F]+ +delete +#\d+ .+ -> no row$/.test(line)),
    ).toHaveLength(1)
    // Plain, since nobody looks at a terminal.
    expect(lines.join('')).not.toContain('\u001b')
  }, 90_000)

  test.for(decoderNames.filter(name => name !== 'pgoutput'))(
    'shows the same with %s',
    async (decoder, { skip }) => {
      const database = await testDatabase(serverFor(decoder))
      skipUnlessInstalled(database, decoder, skip)
      const lines = await demo(database.url, '--decoder', decoder)
      expect(lines).toContain(`    0 rows in memory, as of one commit; changes come by ${decoder}`)
      expect(lines.filter(line => / (insert|update|delete) /.test(line))).toHaveLength(23)
      expect(lines.at(-1)).toBe('Memory equals the table.')
    },
  )

  test('runs on a given database, again on what it left there, with the same people for the same seed', async () => {
    const database = await testDatabase()
    const first = await demo(database.url)
    expect(first.at(-1)).toBe('Memory equals the table.')
    const second = await demo(database.url)
    expect(second.at(-1)).toBe('Memory equals the table.')
    const [{ count }] = (await database.query<{ count: string }>(
      'select count(*) from demo_postgres_cdc',
    )) as [{ count: string }]
    expect(count).toBe('38')
    const withoutIds = (lines: readonly string[]) => inserted(lines).map(line => line.replace(/#\d+/, ''))
    expect(withoutIds(second)).toEqual(withoutIds(first))
  }, 90_000)
})
