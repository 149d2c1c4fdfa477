import { defineTable } from '../../src/index.js'
import type { KeyedTable } from '../relation-of.js'

/** A row of the table that is put to the test, as `pg` gives it. */
export interface Item {
  readonly id: number
  readonly code: string
  readonly grp: number
  readonly n: number
  readonly big: string
}

/** Keys and groups are few, so that writers, readers and evictions meet all the time. */
export const KEYS = 400
export const GROUPS = 12
/** Far fewer than there are, so that rows leave all the time. */
export const ROWS_KEPT = 90

/** `big` is stored out of line: an UPDATE of its neighbours leaves it unsent. */
export const boundedSchema = `
  create table items (id int primary key, code text collate "C" not null unique, grp int not null, n int not null, big text not null);
  alter table items alter column big set storage external;
  create index on items (grp);
  insert into items select g, 'c' || g, g % ${GROUPS}, 0, md5(g::text) || repeat('x', 2100) from generate_series(1, ${KEYS}) g
    where g % 3 <> 0;`

const columns = ['id', 'code', 'grp', 'n', 'big'] as const

/** The table as the recorder follows it. */
export const itemsTable: KeyedTable = { schema: 'public', name: 'items', identity: 'default', key: ['id'] }

/** The same table, of which memory keeps the rows used last. */
export const boundedItems = defineTable<Item>({
  name: 'items',
  columns,
  indexes: [['code'], ['grp']],
  keep: { maxRows: ROWS_KEPT },
})
