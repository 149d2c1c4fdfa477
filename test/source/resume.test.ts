import { describe, expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { type FoundServer, type LeftOff, resumeObstacle } from '../../src/source/resume.js'
import type { ScenarioId } from '../scenarios/catalogue.js'
import { shows } from '../support/shows.js'

const position = 0x1000n as Lsn
const left: LeftOff = {
  systemId: '7',
  timeline: 1,
  position,
  startedAt: '2026-01-01',
  plugin: 'pgoutput',
  xids: [700],
}
const slot = {
  plugin: 'pgoutput',
  isTemporary: false,
  activePid: null,
  invalidation: null,
  confirmed: position,
}
const same: FoundServer = {
  systemId: '7',
  timeline: 1,
  written: position,
  startedAt: '2026-01-01',
  slot,
  hasCommits: true,
}

describe('a stream', () => {
  test('is gone on with on the same server, whose slot has confirmed no more than was applied', () => {
    expect(resumeObstacle(left, same)).toBeNull()
    const earlier = { ...slot, confirmed: 0x500n as Lsn }
    expect(resumeObstacle(left, { ...same, startedAt: 'later', slot: earlier })).toBeNull()
  })

  const cases: [what: string, found: Partial<FoundServer>, why: RegExp, scenarios?: ScenarioId[]][] = [
    ['another cluster', { systemId: '8' }, /another database cluster/, ['C39']],
    ['a promoted standby', { timeline: 2 }, /timeline is 2 and was 1/, ['C28', 'I19']],
    ['a server whose log ends earlier', { written: 0xfffn as Lsn }, /log ends at 0\/FFF/, ['C4', 'C41']],
    ['a server that lost what was applied', { hasCommits: false }, /does not have the transactions/],
    ['a server without the slot', { slot: null }, /slot is gone/],
    ['a slot of another plugin', { slot: { ...slot, plugin: 'wal2json' } }, /taken its name/],
    ['a temporary slot of the same name', { slot: { ...slot, isTemporary: true } }, /taken its name/],
    [
      'a slot that was invalidated',
      { slot: { ...slot, invalidation: 'wal_removed' } },
      /\(wal_removed\)/,
      ['C15'],
    ],
    ['a slot that was read by others', { slot: { ...slot, confirmed: 0x1001n as Lsn } }, /moved on/, ['I18']],
    ['a slot that is being made', { slot: { ...slot, confirmed: null } }, /moved on/],
  ]
  test.each(cases)('is not gone on with on %s', (_what, found, why, scenarios = []) => {
    shows(...scenarios)
    expect(resumeObstacle(left, { ...same, ...found })).toMatch(why)
  })
})
