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
  isSynced: false,
  confirmed: position,
}
const synced = { ...slot, isSynced: true }
const same: FoundServer = {
  systemId: '7',
  timeline: 1,
  leftAt: null,
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

  test('is gone on with on a promoted standby that has all that was applied, by its copy of the slot', () => {
    shows('C28')
    const promoted = {
      ...same,
      timeline: 2,
      startedAt: 'later',
      slot: { ...synced, confirmed: 0x500n as Lsn },
    }
    expect(resumeObstacle(left, { ...promoted, leftAt: position })).toBeNull()
    expect(resumeObstacle(left, { ...promoted, leftAt: 0x2000n as Lsn })).toBeNull()
  })

  const cases: [what: string, found: Partial<FoundServer>, why: RegExp, scenarios?: ScenarioId[]][] = [
    ['another cluster', { systemId: '8' }, /another database cluster/, ['C39']],
    [
      'a promoted standby',
      { timeline: 2 },
      /timeline is 2 and was 1, and it has no copy of the slot/,
      ['C28', 'I19'],
    ],
    [
      'a promoted standby that was behind what was applied',
      { timeline: 2, leftAt: 0xfffn as Lsn, slot: synced },
      /was 1 up to 0\/FFF, and more than that was applied \(0\/1000\)/,
      ['C28', 'I19'],
    ],
    [
      'a promoted standby whose slot was made there',
      { timeline: 2, leftAt: position },
      /it has no copy of the slot/,
    ],
    [
      'a server of a timeline that does not come from ours',
      { timeline: 3, slot: synced },
      /does not tell where that one was left/,
    ],
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
