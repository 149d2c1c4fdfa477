/** proto/decoderbufs.proto against the plugin: what a real server writes is read by it, with nothing left over. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import { testDatabase } from '../support/servers.js'

const root = join(import.meta.dirname, '../..')
const require = createRequire(import.meta.url)

interface Datum {
  readonly columnName: string
  readonly datum?: string
}
interface Row {
  readonly op: string
  readonly table?: string
  readonly newTuple?: (Datum & Record<string, unknown>)[]
  readonly oldTuple?: (Datum & Record<string, unknown>)[]
}

async function rowMessage(): Promise<protobuf.Type> {
  const proto = await protobuf.load(join(root, 'proto/decoderbufs.proto'))
  return proto.lookupType('walcache.decoderbufs.RowMessage')
}

test('its messages have the fields that the client library knows', async () => {
  const theirs = protobuf.Root.fromJSON(
    (
      require('pg-logical-replication/dist/output-plugins/decoderbufs/pg_logicaldec.proto.js') as {
        default: protobuf.INamespace
      }
    ).default,
  )
  const ours = (await rowMessage()).root
  for (const name of ['RowMessage', 'DatumMessage', 'TypeInfo', 'Point']) {
    const fieldsOf = (type: protobuf.Type): [string, string, number, boolean][] =>
      type.fieldsArray.map(field => [field.name, field.type, field.id, field.repeated])
    expect(fieldsOf(ours.lookupType(`walcache.decoderbufs.${name}`))).toEqual(
      fieldsOf(theirs.lookupType(`decoderbufs.${name}`)),
    )
  }
  expect(ours.lookupEnum('walcache.decoderbufs.Op').values).toEqual(
    theirs.lookupEnum('decoderbufs.Op').values,
  )
})

test('what the plugin writes is read', async ({ skip }) => {
  const db = await testDatabase({ major: 15 })
  skip(!db.server.decoders.includes('decoderbufs') && process.env['CI'] !== 'true', 'decoderbufs is not here')
  await db.query(`select pg_create_logical_replication_slot('slot_${db.name}', 'decoderbufs')`)
  await db.query('create table "Users" (id int primary key, "eMail" text, at point, photo bytea)')
  await db.query(
    `insert into "Users" values (1, 'ada@example.com', '(1.5,-2)', '\\x00ff'), (2, null, null, null)`,
  )
  await db.query('update "Users" set id = 3 where id = 2')
  await db.query('delete from "Users" where id = 1')

  const type = await rowMessage()
  const payloads = await db.query<{ data: Buffer }>(
    `select data from pg_logical_slot_peek_binary_changes('slot_${db.name}', null, null)`,
  )
  const rows = payloads.map(({ data }) => {
    const message = type.decode(data)
    // Bytes that the description did not know would be missing here.
    expect(type.encode(message).finish()).toHaveLength(data.length)
    return type.toObject(message, { enums: String, oneofs: true, longs: Number }) as Row
  })
  const changes = rows.filter(({ op }) => op !== 'BEGIN' && op !== 'COMMIT')
  expect(rows.filter(row => !changes.includes(row)).some(({ table }) => table !== undefined)).toBe(false)
  expect(changes.map(({ op, table }) => [op, table])).toEqual([
    ['INSERT', 'public."Users"'],
    ['INSERT', 'public."Users"'],
    ['UPDATE', 'public."Users"'],
    ['DELETE', 'public."Users"'],
  ])
  expect(changes[0]!.newTuple!.map(({ columnName, datum }) => [columnName, datum])).toEqual([
    ['id', 'datumInt32'],
    ['"eMail"', 'datumString'],
    ['at', 'datumPoint'],
    ['photo', 'datumBytes'],
  ])
  expect(changes[1]!.newTuple!.map(({ datum }) => datum)).toEqual([
    'datumInt32',
    undefined,
    undefined,
    undefined,
  ])
  expect(changes[2]!.oldTuple![0]).toMatchObject({ columnName: 'id', datumInt32: 2 })
  expect(changes[3]!.oldTuple![0]).toMatchObject({ columnName: 'id', datumInt32: 1 })
})
