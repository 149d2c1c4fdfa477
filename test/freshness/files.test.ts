import { expect, test } from 'vitest'
import { tablesInOtherFiles } from '../../src/freshness/files.js'

test('a table counts whose file is another one, or that is gone', () => {
  expect(tablesInOtherFiles('10 10,20 20,30 35', '10 10,20 20,30 35')).toEqual([])
  expect(tablesInOtherFiles('10 10,20 20,30 35', '10 10,20 21,30 35')).toEqual([20])
  expect(tablesInOtherFiles('10 10,20 20,30 35', '10 11,20 20')).toEqual([10, 30])
  expect(tablesInOtherFiles('10 10', '')).toEqual([10])
  expect(tablesInOtherFiles('10 10 1', '10 10 1,10 11 1')).toEqual([10])
})
