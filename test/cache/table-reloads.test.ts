import { expect, test } from 'vitest'
import { synchronousStandby } from '../../src/cache/standby-names.js'
import { type ReloadContext, type ReloadHost, TableReloads } from '../../src/cache/table-reloads.js'
import { type CacheError, SetupError, TableChangedError } from '../../src/errors.js'
import { mappingOf } from '../support/table.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

const mapping = mappingOf('items', ['id'], ['id'])

/** Has the table read anew, by sessions of which each question fails with `error`. What ended that, and what the table was put out with. */
async function reloadFailingWith(error: Error): Promise<{ ended: unknown; putOut: CacheError | null }> {
  const abort = new AbortController()
  let putOut: CacheError | null = null
  const logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
  }
  const context = {
    options: { runtime: new VirtualRuntime(), logger },
    sessions: { run: () => Promise.reject(error) },
  } as unknown as ReloadContext
  const host = {
    isAdded: () => false,
    isWatched: () => true,
    begin: () => undefined,
    putOut: (_: unknown, why: CacheError) => {
      putOut = why
      abort.abort()
    },
  } as unknown as ReloadHost
  const reloads = new TableReloads(context, host)
  reloads.request(mapping)
  const ended = await reloads.run(abort.signal).then(
    () => null,
    (reason: unknown) => reason,
  )
  return { ended, putOut }
}

test('what is wrong with one table puts that one out', async () => {
  const cause = new SetupError([{ kind: 'missing-table', table: mapping.name, message: 'it is gone.' }])
  const { ended, putOut } = await reloadFailingWith(cause)
  expect(ended).toBeNull()
  expect(putOut).toBeInstanceOf(TableChangedError)
  expect(putOut).toMatchObject({ cause })
})

test('what is wrong with the server is told as that, and of no table', async () => {
  const cause = new SetupError([synchronousStandby])
  expect(await reloadFailingWith(cause)).toEqual({ ended: cause, putOut: null })
})
