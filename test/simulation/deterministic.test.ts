import { expect, test } from 'vitest'
import { MismatchError } from '../../simulation/deterministic/oracle.js'
import { runDeterministic } from '../../simulation/deterministic/scenario.js'

const decoders = ['pgoutput', 'wal2json', 'decoderbufs'] as const
const seed = Number(process.env['SEED'] ?? 1)

test('the stream is cut after every frame of a history, whatever the decoder, and every read is true', async () => {
  const { report, failure } = await runDeterministic({ seed, histories: 3, decoders, mode: 'every frame' })
  expect(
    failure?.error,
    `seed ${seed}, history ${failure?.chosen.index}, ${failure?.chosen.decoder}`,
  ).toBeUndefined()
  expect(report).toMatchObject({ histories: 9, mismatches: 0 })
  expect(report.framesMin).toBeGreaterThanOrEqual(60)
  expect(report.transactionsMin).toBeGreaterThanOrEqual(6)
  expect(report.cuts).toBeGreaterThanOrEqual(9 * 60)
}, 300_000)

test('everything goes wrong, and every read is true', async () => {
  const { report, failure } = await runDeterministic({ seed, histories: 6, decoders, mode: 'swarm' })
  expect(
    failure?.error,
    `seed ${seed}, history ${failure?.chosen.index}, ${failure?.chosen.decoder}`,
  ).toBeUndefined()
  expect(report).toMatchObject({ histories: 18, mismatches: 0 })
  expect(report.comparisons).toBeGreaterThan(1_000)
}, 300_000)

test('transactions of thousands of changes go through, and every read is true', async () => {
  const { report, failure } = await runDeterministic({ seed, histories: 1, decoders, mode: 'volume' })
  expect(failure?.error, `seed ${seed}, history ${failure?.chosen.index}`).toBeUndefined()
  expect(report.writes).toBeGreaterThan(3_000)
}, 300_000)

test('the same seed is the same, event for event', async () => {
  const run = () => runDeterministic({ seed: 7, histories: 2, decoders, mode: 'swarm' })
  const [one, other] = [await run(), await run()]
  expect(one.report).toEqual(other.report)
  const another = await runDeterministic({ seed: 8, histories: 2, decoders, mode: 'swarm' })
  expect(another.report.traceHash).not.toBe(one.report.traceHash)
}, 300_000)

test.each([
  'confirm-on-receipt',
  'publish-per-row',
  'keepalive-overtakes',
  'toast-as-null',
  'pin-ignored',
  'age-ignored',
])(
  'the simulation finds what was broken on purpose: %s',
  async broken => {
    const { failure } = await runDeterministic({
      seed: 1,
      histories: 40,
      decoders: ['pgoutput'],
      mode: 'swarm',
      broken,
    })
    expect(failure?.error).toBeInstanceOf(MismatchError)
  },
  300_000,
)

test.each([
  {
    found: 'a row that a TRUNCATE has taken after a snapshot was opened, which had no version left',
    mode: 'swarm',
    seed: 12,
    from: 19,
    decoder: 'wal2json',
  },
  {
    found: 'a load that waited for ever for a session whose server had vanished',
    mode: 'swarm',
    seed: 2,
    from: 16,
    decoder: 'pgoutput',
  },
  {
    found: 'a follower that took positions of another history for ones it had gone past',
    mode: 'swarm',
    seed: 2,
    from: 8,
    decoder: 'wal2json',
  },
  {
    found:
      'an eviction that was due when the cache had just been closed, which is the simulation’s own mistake',
    mode: 'every frame',
    seed: 2,
    from: 212,
    decoder: 'decoderbufs',
  },
  {
    found: 'a fill that was made known by a log that had ended in the middle of a commit, with its table',
    mode: 'swarm',
    seed: 13,
    from: 332,
    decoder: 'wal2json',
  },
  {
    found: 'a table that was put out, to be tried again later, while the cache was being closed',
    mode: 'swarm',
    seed: 13,
    from: 73,
    decoder: 'pgoutput',
    favours: { fault: 'slot waits for writers', operation: 'rollback to a savepoint' },
  },
] as const)(
  'a seed that once found something: $found',
  async ({ mode, seed, from, decoder, ...rest }) => {
    const { failure } = await runDeterministic({
      seed,
      from,
      histories: 1,
      decoders: [decoder],
      mode,
      ...rest,
    })
    expect(failure?.error).toBeUndefined()
  },
  60_000,
)
