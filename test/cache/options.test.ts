import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { resolveOptions } from '../../src/cache/options.js'
import { OptionError } from '../../src/errors.js'
import { defineTable, type OpenCacheOptions } from '../../src/index.js'

const pool = new pg.Pool()
const users = defineTable({ name: 'users' })
const resolve = (options: object): unknown =>
  resolveOptions({ pool, entities: [users], ...options } as OpenCacheOptions)

describe('resolveOptions', () => {
  test('has safe defaults', () => {
    const {
      pool: _pool,
      entities: _entities,
      logger: _logger,
      runtime: _runtime,
      onProgress: _on,
      ...rest
    } = resolveOptions({ pool, entities: [users] })
    expect(rest).toMatchObject({
      connections: 4,
      decoder: 'pgoutput',
      maxStalenessMs: 10_000,
      onStaleLocal: 'throw',
      onStale: 'database',
      onUnknown: 'database',
      auditRowsPerSecond: null,
      gateRunning: 16,
      gateWaiting: 256,
      wait: true,
      sliceMs: 5,
      snapshotMaxAgeMs: 30_000,
      feedBytes: 32 * 2 ** 20,
      feedHistoryMs: 0,
    })
    expect(rest.memoryBytes).toBeGreaterThan(2 ** 20)
    expect(rest.tableMemoryBytes).toBe(rest.memoryBytes)
  })

  test.each([
    ['maxStalenes', { maxStalenes: 5 }],
    ['tokenSecret', { tokenSecret: 'x' }],
    ['fillWaitMs', { fillWaitMs: -1 }],
    ['audit', { audit: true }],
    ['audit.rowsPerSecond', { audit: {} }],
    ['audit.rowsPerSecond', { audit: { rowsPerSecond: 0 } }],
    ['audit.rows', { audit: { rows: 5 } }],
    ['slot', { slot: { name: 'Mine', durable: true } }],
    ['slot', { slot: { name: 'mine' } }],
    ['slot', { slot: { temporary: true, durable: true, name: 'mine' } }],
    ['slot.nam', { slot: { nam: 'mine', durable: true } }],
    ['slot.walBudgetBytes', { slot: { name: 'mine', durable: true, walBudgetBytes: 1 } }],
    ['pool', { pool: {} }],
    ['entities', { entities: users }],
    ['connections', { connections: 1 }],
    ['connections', { connections: 2.5 }],
    ['decoder', { decoder: 'test_decoding' }],
    ['maxStaleness', { maxStaleness: 0 }],
    ['maxStaleness', { maxStaleness: Number.NaN }],
    ['maxStaleness', { maxStaleness: '10' }],
    ['onStale.local', { onStale: { local: 'database' } }],
    ['onStale.asynchronous', { onStale: { asynchronous: 'ignore' } }],
    ['onUnknown', { onUnknown: 'serve' }],
    ['databaseGate.running', { databaseGate: { running: 0 } }],
    ['memory', { memory: -1 }],
    ['memory', { memory: '1 GB' }],
    ['memory.cach', { memory: { cach: 1000 } }],
    ['onStale', { onStale: 'serve' }],
    ['onStale.async', { onStale: { async: 'serve' } }],
    ['databaseGate', { databaseGate: 5 }],
    ['databaseGate', { databaseGate: null }],
    ['sliceMs', { sliceMs: 0 }],
    ['snapshotMaxAgeMs', { snapshotMaxAgeMs: 0 }],
    ['feedBytes', { feedBytes: 1.5 }],
    ['feedHistoryMs', { feedHistoryMs: -1 }],
    ['wait', { wait: 'no' }],
    ['publication', { publication: '' }],
    ['publication', { publication: 5 }],
    ['signal', { signal: {} }],
    ['onProgress', { onProgress: 'yes' }],
    ['logger', { logger: {} }],
    ['logger', { logger: null }],
  ])('refuses %s by name: %j', (option, options) => {
    expect(() => resolve(options)).toThrow(OptionError)
    expect(() => resolve(options)).toThrow(new RegExp(`^Option "${option.replace('.', '\\.')}"`))
  })
})
