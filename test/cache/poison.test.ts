import { expect, test } from 'vitest'
import { Poison, POISON_ATTEMPTS_MAX } from '../../src/cache/poison.js'
import type { Lsn } from '../../src/change/lsn.js'
import { PoisonError } from '../../src/index.js'

const cause = new Error('What it says.')

test('what fails again and again is given up with its table and position', () => {
  const poison = new Poison()
  const fault = { table: 'public.things', position: 0x1_0000_0020n as Lsn }
  for (let attempt = 1; attempt < POISON_ATTEMPTS_MAX; attempt++) {
    expect(poison.failed(fault, cause)).toBeNull()
    // Another table's failures are its own.
    expect(poison.failed({ ...fault, table: `public.other${attempt}` }, cause)).toBeNull()
  }
  const error = poison.failed(fault, cause)
  expect(error).toBeInstanceOf(PoisonError)
  expect(error).toMatchObject({
    table: 'public.things',
    attempts: POISON_ATTEMPTS_MAX,
    cause,
    transient: false,
  })
  expect(error?.message).toMatch(/1\/20 of table public\.things.*What it says/)
})

test('a stream that has lasted makes up for what failed before', () => {
  const poison = new Poison()
  const fault = { table: null, position: null }
  for (let attempt = 1; attempt < POISON_ATTEMPTS_MAX; attempt++) poison.failed(fault, cause)
  poison.settled()
  for (let attempt = 1; attempt < POISON_ATTEMPTS_MAX; attempt++)
    expect(poison.failed(fault, cause)).toBeNull()
  expect(poison.failed(fault, cause)?.message).toMatch(/^The load can't/)
})
