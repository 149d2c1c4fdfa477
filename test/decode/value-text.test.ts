import { expect, test } from 'vitest'
import { dateText, float4Text, float8Text, timestampText, timeText } from '../../src/decode/value-text.js'

test.each([
  [0, '1970-01-01'],
  [-1, '1969-12-31'],
  [19_782, '2024-02-29'],
  [-719_162, '0001-01-01'],
  [-719_163, '0001-12-31 BC'],
  [-735_160, '0044-03-15 BC'],
  [2_145_042_905, '5874897-12-31'],
])('the date %i days from 1970 is %s', (days, text) => {
  expect(dateText(days)).toBe(text)
})

test.each([
  [0n, '00:00:00'],
  [86_400_000_000n, '24:00:00'],
  [45_296_123_456n, '12:34:56.123456'],
  [100_000n, '00:00:00.1'],
  [1n, '00:00:00.000001'],
])('%i microseconds are the time %s', (micros, text) => {
  expect(timeText(micros)).toBe(text)
})

test('a year before Christ stands behind the zone', () => {
  expect(timestampText(-1n, '')).toBe('1969-12-31 23:59:59.999999')
  expect(timestampText(-62_135_596_800_000_001n, '+00')).toBe('0001-12-31 23:59:59.999999+00 BC')
})

// Each as PostgreSQL 15 prints it.
test.each([
  [0.1, '0.1'],
  [-0, '-0'],
  [1e14, '100000000000000'],
  [1e15, '1e+15'],
  [123456789.125, '123456789.125'],
  [1e-4, '0.0001'],
  [1e-5, '1e-05'],
  // 1e+23 lies exactly between two doubles.
  [1e23, '9.999999999999999e+22'],
  [5e-324, '5e-324'],
  [Number.NaN, 'NaN'],
  [-Infinity, '-Infinity'],
])('the float8 %d', (value, text) => {
  expect(float8Text(value)).toBe(text)
})

test.each([
  [Math.fround(1.1), '1.1'],
  [100_000, '100000'],
  [1e6, '1e+06'],
  [Math.fround(1e-45), '1e-45'],
  [Math.fround(3.4028235e38), '3.4028235e+38'],
  // As near to ...492 as to ...493: the even digit.
  [-1_063_749.25, '-1.0637492e+06'],
  [2 ** -12, '0.00024414062'],
])('the float4 %d', (value, text) => {
  expect(float4Text(value)).toBe(text)
})
