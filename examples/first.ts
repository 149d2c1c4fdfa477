import pg from 'pg'
import { Column, openCache, PrimaryKey, ReplicatedTable } from '../src/index.js'

@ReplicatedTable({ name: 'users', naming: 'snake' })
class User {
  @PrimaryKey() id!: number
  @Column() email!: string
  @Column() isActive!: boolean // the column is_active
}

const pool = new pg.Pool() // reads PGHOST, PGUSER, PGDATABASE and so on
const cache = await openCache({ pool, entities: [User] })
const users = cache.table(User)
console.log(users.local.get(1)) // from memory, no await; undefined means that there is no such row

const snapshot = cache.snapshot() // one commit over all tables, for as long as it is held
const changes = users.changes() // every change from now on

await pool.query('update users set is_active = false where id = 1') // by whomever, on whatever server
await cache.waitFor(await cache.token()) // now everything committed by now is visible here
const before = snapshot.table(User).local.get(1)
console.log('now', users.local.get(1)?.isActive, 'in the snapshot', before?.isActive)

for await (const change of changes) {
  if (change.kind === 'update') console.log('updated', change.old?.isActive, '->', change.new?.isActive)
  break
}

snapshot.close()
await cache.close()
await pool.end()
