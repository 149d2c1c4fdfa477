import assert from 'node:assert/strict'
import pg from 'pg'
import { test } from 'vitest'
import { clientConfig, startupOptions } from '../../src/wire/config.js'

const settings = { timeZone: 'Asia/Kolkata', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' }

test('the pinned settings come after the caller’s own, so that they win', () => {
  const options = startupOptions('-c datestyle=German -c work_mem=8MB', settings)
  assert.ok(options.startsWith('-c datestyle=German -c work_mem=8MB -c datestyle=ISO,\\ MDY '))
  assert.match(options, / -c timezone=Asia\/Kolkata /)
  assert.match(options, / -c default_transaction_isolation=read\\ committed /)
})

test('dates are read in the caller’s order', () => {
  const options = startupOptions(undefined, { ...settings, dateStyle: 'SQL, DMY' })
  assert.ok(options.startsWith('-c datestyle=ISO,\\ DMY '))
})

test('a value is one argument, whatever is in it', () => {
  const options = startupOptions(undefined, {
    timeZone: 'a b\\c -c fsync=off',
    dateStyle: 'ISO, MDY',
    lcMonetary: 'de_DE.UTF-8',
    searchPath: '"a b", public',
  })
  assert.match(options, /-c timezone=a\\ b\\\\c\\ -c\\ fsync=off -c/)
  assert.match(options, /-c search_path="a\\ b",\\ public -c/)
})

test('a pool’s URL, and what stands beside it, is how ours connect', () => {
  const pool = new pg.Pool({
    connectionString:
      'postgres://ada:s%40cret@db.example:6543/shop?options=-c%20work_mem%3D8MB&application_name=web',
    statement_timeout: 1,
    query_timeout: 2,
  })
  const config = clientConfig(pool.options, settings, 'walcache', {})
  assert.equal(config.user, 'ada')
  assert.equal(config.password, 's@cret')
  assert.equal(config.host, 'db.example')
  assert.equal(String(config.port), '6543')
  assert.equal(config.database, 'shop')
  assert.equal(config.application_name, 'walcache')
  assert.match(config.options ?? '', /^-c work_mem=8MB -c datestyle=/)
  for (const name of ['connectionString', 'statement_timeout', 'query_timeout']) assert.ok(!(name in config))
})

test('a password that pg hides, or that is a function, is passed on', () => {
  const password = () => 'later'
  assert.equal(clientConfig(new pg.Pool({ password }).options, settings, 'w', {}).password, password)
})

test('PGOPTIONS counts as the caller’s own', () => {
  const config = clientConfig({}, settings, 'walcache', { PGOPTIONS: '-c work_mem=8MB' })
  assert.match(config.options ?? '', /^-c work_mem=8MB -c datestyle=/)
})

test('values stay text', () => {
  const { types } = clientConfig({}, settings, 'walcache', {})
  const parse = types!.getTypeParser(20) as (text: string) => unknown
  assert.equal(parse('12'), '12')
})
