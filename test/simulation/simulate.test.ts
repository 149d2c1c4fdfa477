import { describe, expect, test, vi } from 'vitest'
import { openCacheSubject } from '../../simulation/cache-subject.js'
import { decoderNames, oddities } from '../../simulation/decoders.js'
import { faultNames } from '../../simulation/faults/faults.js'
import { type SimulationResult, simulate } from '../../simulation/simulate.js'
import { openDatabaseSubject, type Subject, type SubjectOptions } from '../../simulation/subject.js'
import { skipUnlessInstalled } from '../conformance/installed.js'
import { createDatabase, serverFor, startPostgres } from '../support/postgres.js'
import { testDatabase } from '../support/servers.js'

const STEPS = 200
/** Each fault has its wait, so these take long where others use the machine too. */
const STEPS_WITH_FAULTS = 80
const WITH_FAULTS_MS = 300_000
vi.setConfig({ testTimeout: 120_000 })
const openCache = (options: SubjectOptions): Promise<Subject> =>
  openCacheSubject({ ...options, decoder: 'pgoutput' })

async function simulateOn(major: 14 | 18, seed: number, openSubject = openCache): Promise<SimulationResult> {
  await using database = await testDatabase({ major })
  return await simulate({ seed, steps: STEPS, databaseUrl: database.url, openSubject })
}

describe.each([14, 18] as const)('on Postgres %i', major => {
  test.each([1, 2, 3])('model, SELECT and cache agree over the history of seed %i', async seed => {
    const { mismatch, transactions, comparisons } = await simulateOn(major, seed)
    expect(mismatch).toBeUndefined()
    expect(transactions).toBeGreaterThan(150)
    expect(comparisons).toBeGreaterThan(1000)
  })
})

/** Together: each gets as many changes as the model has made, and they are the same ones. */
test('every decoder says the same standard changes, over a history with nothing that one of them loses', async ({
  skip,
}) => {
  const hashes = new Map<string, string | undefined>()
  for (const decoder of decoderNames) {
    await using database = await testDatabase(serverFor(decoder))
    skipUnlessInstalled(database, decoder, skip)
    const { mismatch, changesHash } = await simulate({
      seed: 7,
      steps: STEPS,
      databaseUrl: database.url,
      leaveOut: oddities,
      recordWith: decoder,
      openSubject: options => openCacheSubject({ ...options, decoder }),
    })
    expect(mismatch).toBeUndefined()
    hashes.set(decoder, changesHash)
  }
  expect(hashes.get('pgoutput')).toMatch(/^[0-9a-f]{64}$/)
  expect(hashes).toEqual(new Map(decoderNames.map(decoder => [decoder, hashes.get('pgoutput')])))
})

test(
  'they agree though connections, server, slot and publication fail now and then',
  async () => {
    await using server = await startPostgres()
    const { mismatch, faults } = await simulate({
      seed: 5,
      steps: STEPS_WITH_FAULTS,
      databaseUrl: await createDatabase(server),
      // It takes as long to be noticed as a dead peer does.
      faults: { names: faultNames.filter(name => name !== 'the network swallows everything'), server },
      openSubject: openCache,
    })
    expect(mismatch).toBeUndefined()
    expect(Object.values(faults).filter(count => count > 0).length).toBeGreaterThan(5)
  },
  WITH_FAULTS_MS,
)

test('the same seed gives the same history, whatever is put to the test', async () => {
  const one = await simulateOn(18, 4)
  const other = await simulateOn(14, 4, openDatabaseSubject)
  expect(other.historyHash).toBe(one.historyHash)
})

test('a cache that hides one row is found out, with the step and the row', async () => {
  const { mismatch } = await simulateOn(18, 1, async options => hidingRows(await openCache(options)))
  expect(mismatch).toMatchObject({
    step: expect.any(Number) as number,
    difference: {
      where: 'the model and the cache',
      problem: 'iteration leaves out a row',
      key: expect.anything() as unknown,
    },
  })
})

function hidingRows(subject: Subject): Subject {
  return {
    catchUp: () => subject.catchUp(),
    get moment() {
      return subject.moment
    },
    now: table => {
      const view = subject.now(table)
      return { ...view, rows: () => [...view.rows()].slice(1) }
    },
    told: subject.told,
    snapshot: () => subject.snapshot(),
    refuses: error => subject.refuses(error),
    [Symbol.asyncDispose]: () => subject[Symbol.asyncDispose](),
  }
}
