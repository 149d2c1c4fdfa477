import { expect, test } from 'vitest'
import { SetupError } from '../../src/errors.js'
import type { QueryConnection } from '../../src/runtime.js'
import { pluginHasOption } from '../../src/wire/slot.js'
import { queryConnection } from '../support/query-connection.js'
import { testDatabase } from '../support/servers.js'

const asked = { slot: 'walcache_option', plugin: 'wal2json', option: 'numeric-data-types-as-string' }

test('an option that the plugin does not know is told from one that it does, and no slot stays', async ({
  skip,
}) => {
  const db = await testDatabase({ major: 15 })
  skip(!db.server.decoders.includes('wal2json') && process.env['CI'] !== 'true', 'the server has no wal2json')
  const connection = await queryConnection(db.url)
  const request = { ...asked, slot: `option_${db.name}` }
  // Debian's release is 2.5; this option came with 2.6.
  expect(await pluginHasOption(connection, request)).toBe(false)
  expect(await pluginHasOption(connection, { ...request, option: 'include-lsn' })).toBe(true)
  expect(
    await db.query('select slot_name from pg_replication_slots where database = current_database()'),
  ).toEqual([])
  expect(await connection.query('show lock_timeout')).toEqual([{ lock_timeout: '0' }])
})

test('a server without the plugin is refused by name', async () => {
  const db = await testDatabase()
  const connection: QueryConnection = await queryConnection(db.url)
  const refused = pluginHasOption(connection, {
    ...asked,
    slot: `option_${db.name}`,
    plugin: 'no_such_plugin',
  })
  await expect(refused).rejects.toThrow(SetupError)
  await expect(refused).rejects.toThrow('does not have the output plugin "no_such_plugin"')
})
