import { expect, test } from 'vitest'
import { columnFor, nearest, propertyFor } from '../../src/mapping/names.js'

test.each([
  ['id', 'id'],
  ['isActive', 'is_active'],
  ['userID', 'user_id'],
  ['HTTPStatus', 'http_status'],
  ['address2Line', 'address2_line'],
  ['_private', '_private'],
  ['already_snake', 'already_snake'],
  ['größeÄnderung', 'größe_änderung'],
])('property %s is column %s in snake_case', (property, column) => {
  expect(columnFor(property, 'snake')).toBe(column)
  expect(columnFor(property, 'exact')).toBe(property)
})

test.each([
  ['id', 'id'],
  ['is_active', 'isActive'],
  ['_private', '_private'],
  ['a__b', 'aB'],
  ['trailing_', 'trailing_'],
  ['line_2', 'line2'],
  ['größe_änderung', 'größeÄnderung'],
])('column %s is property %s', (column, property) => {
  expect(propertyFor(column, 'snake')).toBe(property)
  expect(propertyFor(column, 'exact')).toBe(column)
})

test('names are suggested nearest first, at most three, and not at any price', () => {
  expect(nearest('email', ['emial', 'mail', 'e_mail', 'emails', 'address'])).toEqual([
    'e_mail',
    'emial',
    'mail',
  ])
  expect(nearest('id', ['uid', 'name'])).toEqual(['uid'])
  expect(nearest('email', ['x', 'completely_different'])).toEqual([])
})
