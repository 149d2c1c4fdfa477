import { expect, test } from 'vitest'
import { expectedShape, shape } from '../shape.js'
import * as entities from './entities.js'

test('entities are declared alike when vitest compiles them', () => {
  expect(shape(entities)).toEqual(expectedShape)
})
