import { expect, test } from 'vitest'
import { parseTimelineHistory } from '../../src/wire/timeline.js'

test('a history file says where each earlier timeline was left', () => {
  const file = '1\t0/3000148\tno recovery target specified\n\n2\t16/B374D848\tbefore 2026-01-01 00:00:00+00\n'
  expect([...parseTimelineHistory(file)]).toEqual([
    [1, 0x3000148n],
    [2, 0x16_b374d848n],
  ])
  expect(parseTimelineHistory('').size).toBe(0)
})
