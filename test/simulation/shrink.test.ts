import { expect, test } from 'vitest'
import { LivenessError, MismatchError } from '../../simulation/deterministic/oracle.js'
import { plan } from '../../simulation/deterministic/plan.js'
import { commandOf, failureText, runDeterministic } from '../../simulation/deterministic/scenario.js'
import { partOf } from '../../simulation/deterministic/shrink.js'

const decoders = ['pgoutput'] as const

test('a failure is shrunk to a few operations, which fail again by the command that is printed', async () => {
  const broken = 'old-key-kept'
  const { failure } = await runDeterministic({
    seed: 1,
    histories: 20,
    decoders,
    mode: 'swarm',
    broken,
    shrinks: true,
  })
  expect(failure?.error).toBeInstanceOf(MismatchError)
  const { chosen, shrunk } = failure!
  expect(shrunk!.part.steps.length).toBeLessThanOrEqual(10)
  expect(shrunk!.stepsOfAll).toBeGreaterThan(shrunk!.part.steps.length)
  const text = failureText(failure!)
  expect(text).toMatch(/^(SAFETY|LIVENESS): seed 1, history \d+, pgoutput: /)
  const { steps, faults, salt } = shrunk!.part
  expect(text).toContain(
    `--seed 1 --decoder pgoutput --from ${chosen.index} --histories 1 --break ${broken} --only-steps "${steps.join(',')}" --only-faults "${faults.join(',')}" --salt ${salt}`,
  )
  const again = await runDeterministic({
    seed: 1,
    histories: 1,
    from: chosen.index,
    decoders,
    mode: 'swarm',
    broken,
    part: shrunk!.part,
  })
  expect(again.failure?.error.message).toBe(failure!.error.message)
  // Without the break, the same is right.
  const mended = await runDeterministic({
    seed: 1,
    histories: 1,
    from: chosen.index,
    decoders,
    mode: 'swarm',
    part: shrunk!.part,
  })
  expect(mended.failure?.error).toBeUndefined()
}, 300_000)

test('a part of a history has the steps that are kept, in their order, and no transaction without any', () => {
  const whole = plan(3, 0, 'pgoutput', 'swarm')
  const steps = whole.script.writers.flat().flatMap(transaction => transaction.steps)
  const part = partOf(whole, { steps: [0, 3], faults: [], salt: 2, isMadeUp: false })
  const transactions = part.script.writers.flat()
  expect(transactions.flatMap(transaction => transaction.steps)).toEqual([steps[0], steps[3]])
  expect(transactions.every(transaction => transaction.steps.length > 0)).toBe(true)
  expect(part.script.writers.length).toBe(whole.script.writers.length)
  expect([part.chanceFaults, part.timedFaults, part.seed]).toEqual([[], [], (whole.seed + 2) >>> 0])
})

test('what never comes is told apart from what was wrong', async () => {
  const { failure } = await runDeterministic({
    seed: 1,
    histories: 1,
    decoders,
    mode: 'swarm',
    broken: 'positions-never-reached',
  })
  expect(failure?.error).toBeInstanceOf(LivenessError)
  expect(failureText(failure!)).toMatch(/^LIVENESS: /)
}, 180_000)

test('a command names all that decides a history', () => {
  const chosen = { seed: 5, index: 7, decoder: 'wal2json', mode: 'every frame' } as const
  expect(commandOf(chosen)).toBe('--scenario every-frame --seed 5 --decoder wal2json --from 7 --histories 1')
  expect(commandOf({ ...chosen, favours: { fault: 'stream cut', operation: 'truncate' } })).toContain(
    '--favour "fault=stream cut,operation=truncate"',
  )
})
