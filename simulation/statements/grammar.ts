import type { Random } from '../random.js'
import { PURSES } from './schema.js'

/** What a run may use. */
export interface Dialect {
  /** `server_version_num`. */
  readonly version: number
  readonly truncates: boolean
}

/** One kind of statement: what it is made of is up to chance. */
export interface Production {
  readonly name: string
  readonly weight: number
  readonly text: (random: Random) => string
  readonly since?: number
  readonly truncates?: boolean
}

const MERGE_SINCE = 150_000

const KEYS_MAX = 60
const some = (random: Random): number => random.between(1, KEYS_MAX)
const purse = (random: Random): number => random.between(1, PURSES)
const word = (random: Random): string => random.uint32().toString(36)
const long = (random: Random): string => `repeat('${word(random)}', ${random.between(400, 900)})`
const part = (random: Random, column: string): string => {
  const of = random.between(3, 9)
  return `${column} % ${of} = ${random.below(of)}`
}

/** Statements of a transaction, each as a text of its own. None knows what rows there are: some do much, some nothing, some fail. */
export const productions: readonly Production[] = [
  {
    name: 'insert many, or update',
    weight: 6,
    text: random =>
      `insert into customers (email, name, level, tags, profile, seen, big)
       select 'c' || g, ' ${word(random)} ', g, array['a', null, g::text], jsonb_build_object('n', g, 't', '${word(random)}'),
         timestamptz '2026-01-01 00:00:00Z' + g * interval '1 minute 3 milliseconds', ${long(random)}
       from generate_series(${some(random)}, ${some(random)}) g
       on conflict (email) do update set level = customers.level + 1, name = excluded.name`,
  },
  {
    name: 'insert, unless it is there',
    weight: 3,
    text: random =>
      `insert into tree (id, parent, path) select g, null, '${word(random)}' from generate_series(1, ${some(random)}, 7) g on conflict do nothing`,
  },
  {
    name: 'orders with lines, in one statement',
    weight: 7,
    text: random =>
      `with made as (insert into orders (customer, note) select id, '${word(random)}' from customers where ${part(random, 'id')} limit 4 returning id)
       insert into lines select id, g, 'sku' || g, g + ${random.below(5)}, 1.25 * g from made, generate_series(1, ${random.between(1, 5)}) g`,
  },
  {
    name: 'more lines',
    weight: 4,
    text: random =>
      `insert into lines select id, ${random.between(1, 12)}, '${word(random)}', ${random.between(1, 9)}, ${random.between(1, 999)} / 100.0
       from orders where ${part(random, 'id')} limit 3 on conflict (ord, no) do update set amount = lines.amount + excluded.amount`,
  },
  {
    name: 'update from another table',
    weight: 4,
    text: random =>
      `update orders o set note = c.name || '!', state = 'seen' from customers c where c.id = o.customer and ${part(random, 'c.level')}`,
  },
  {
    name: 'update, long values left alone',
    weight: 6,
    text: random =>
      `update customers set level = level + 1, name = '${word(random)}' where ${part(random, 'id')}`,
  },
  {
    name: 'update of long values',
    weight: 3,
    text: random => `update customers set big = ${long(random)}, tags = null where id = ${some(random)}`,
  },
  {
    name: 'changed keys, with all that refers to them',
    weight: 3,
    text: random =>
      `update customers set id = id + ${random.pick([1, -1])} * 1000 where id = ${random.pick([0, 1000])} + ${some(random)}`,
  },
  {
    name: 'changed keys of two parts',
    weight: 3,
    text: random =>
      `update lines set no = no + 20, price = price + 1 where ${part(random, 'ord')} and no < 3`,
  },
  {
    name: 'two keys change places',
    weight: 2,
    text: random => {
      const [one, other] = [some(random), some(random)]
      return `update tree set id = -1 where id = ${one}; update tree set id = ${one} where id = ${other};
        update tree set id = ${other} where id = -1`
    },
  },
  {
    name: 'money moves',
    weight: 10,
    text: random => {
      const [from, to] = [purse(random), purse(random)]
      const amount = random.between(1, 60)
      return `update purses set balance = balance - ${amount}, moves = moves + 1 where id = ${from};
        update purses set balance = balance + ${amount}, moves = moves + 1 where id = ${to}`
    },
  },
  {
    name: 'money moves, in one statement',
    weight: 4,
    text: random =>
      `with pair as (select min(id) as a, max(id) as b from (select id from purses order by (id * ${random.between(2, 99)}) % 23 limit 2) p)
       update purses set balance = balance + case when id = a then -1 else 1 end from pair where id in (a, b) and a <> b`,
  },
  {
    name: 'owners come and go',
    weight: 3,
    text: random =>
      `update purses set owner = (select max(id) from customers where ${part(random, 'id')}) where id = ${purse(random)}`,
  },
  {
    name: 'delete, with all that refers to it',
    weight: 2,
    text: random => `delete from customers where id % 1000 = ${some(random)}`,
  },
  {
    name: 'delete and tell of it',
    weight: 3,
    text: random =>
      `with gone as (delete from lines where ${part(random, 'ord')} and no > 1 returning ord)
       insert into journal (what) select 'gone of ' || ord from gone group by ord`,
  },
  {
    name: 'delete by another table',
    weight: 2,
    text: random =>
      `delete from orders o using customers c where c.id = o.customer and ${part(random, 'o.id')}`,
  },
  {
    name: 'delete and insert again',
    weight: 3,
    text: random => {
      const id = some(random)
      return `delete from tree where id = ${id}; insert into tree values (${id}, null, '${word(random)}')`
    },
  },
  {
    name: 'children before their parents',
    weight: 2,
    text: random => {
      const id = random.between(100, 130)
      return `insert into tree values (${id}, ${id + 100}, 'child') on conflict (id) do update set path = tree.path || '.';
        insert into tree values (${id + 100}, null, 'parent') on conflict do nothing`
    },
  },
  {
    name: 'a parent that is missing at the commit',
    weight: 1,
    text: random =>
      `insert into tree values (${random.between(300, 330)}, 999999, 'orphan') on conflict do nothing`,
  },
  {
    name: 'merge',
    weight: 4,
    since: MERGE_SINCE,
    text: random =>
      `merge into tree t using (select g as id from generate_series(${some(random)}, ${some(random)}) g) s on t.id = s.id
       when matched and t.id % 5 = 0 then delete
       when matched then update set path = left(t.path || '.', 40)
       when not matched then insert values (s.id, null, 'merged')`,
  },
  {
    name: 'a block with exceptions',
    weight: 4,
    text: random =>
      `do $$ begin
         for i in 1..${random.between(2, 9)} loop
           begin
             insert into customers (email, name) values ('d' || (i % 4 + ${random.below(20)}), 'block');
             update purses set balance = balance - i where id = ${purse(random)};
             update purses set balance = balance + i where id = ${purse(random)};
             if i % 3 = ${random.below(3)} then raise exception 'undone'; end if;
           exception when unique_violation or check_violation or raise_exception then
             update customers set level = level + 1 where email = 'd1';
           end;
         end loop;
       end $$`,
  },
  {
    name: 'copy',
    weight: 3,
    text: random =>
      `copy staging from program 'for i in 1 2 3 4 5 6 7; do printf "%s\\tw${random.below(9)}-%s\\n" $i $i; done';
       insert into customers (email, name, level) select word, word, n from staging on conflict (email) do update set seen = null;
       delete from staging`,
  },
  {
    name: 'copy into a table that is followed',
    weight: 2,
    text: random => {
      const first = random.between(400, 480)
      return `delete from tree where id between ${first} and ${first + 5};
        copy tree (id, path) from program 'for i in 0 1 2 3 4 5; do printf "%s\\tcopied\\n" $((${first} + i)); done'`
    },
  },
  {
    name: 'by a cursor',
    weight: 2,
    text: random =>
      `declare c${random.below(1000)} cursor for select 1; 
       do $$ declare c cursor for select * from customers where ${part(random, 'id')} for update; r record; begin
         for r in c loop update customers set level = level + 1 where current of c; end loop; end $$`,
  },
  {
    name: 'what is told nobody',
    weight: 3,
    text: random =>
      random.pick([
        `select nextval('numbers')`,
        `select * from customers where ${part(random, 'id')} for update`,
        `select pg_advisory_xact_lock(${random.below(3)})`,
        `insert into staging values (1, 'x'); delete from staging`,
        `select pg_logical_emit_message(${random.chance(0.5)}, 'another', 'text')`,
        'set constraints all immediate; set constraints all deferred',
        `create temporary table scratch on commit drop as select * from customers; update scratch set level = 0`,
        `lock table tree in share row exclusive mode`,
        `update customers set level = level where ${part(random, 'id')}`,
      ]),
  },
  {
    name: 'savepoint',
    weight: 5,
    text: random => {
      const [from, to] = [purse(random), purse(random)]
      return `savepoint s; update purses set balance = balance - 5 where id = ${from};
        insert into journal (what) values ('never') ; ${random.pick(['rollback to s', 'rollback to s; release s'])};
        savepoint t; update purses set balance = balance - 1 where id = ${from};
        update purses set balance = balance + 1 where id = ${to}; release t`
    },
  },
  {
    name: 'truncate',
    weight: 1,
    truncates: true,
    text: random =>
      random.pick([
        'truncate lines',
        'truncate orders cascade',
        'truncate journal restart identity',
        'truncate tree, journal',
        `truncate journal; insert into journal (what) values ('after')`,
      ]),
  },
  {
    name: 'another shape',
    weight: 1,
    text: random =>
      random.pick([
        'alter table orders add column if not exists passing int default 5',
        'alter table orders drop column if exists passing',
        `alter table customers alter column name type text using name || ''`,
        'alter table tree alter column path set storage external',
        `alter table lines replica identity ${random.pick(['full', 'default'])}`,
        'create index if not exists by_state on orders (state)',
        'drop index if exists by_state',
      ]),
  },
]

/** What no transaction may be around. */
export const alone: readonly string[] = [
  'vacuum customers',
  'vacuum full journal',
  'analyze',
  'reindex table purses',
  'cluster tree using tree_pkey',
  'checkpoint',
]

/** Those that the server and the decoder can carry. */
export function productionsFor({ version, truncates }: Dialect): Production[] {
  return productions.filter(each => (each.since ?? 0) <= version && (truncates || each.truncates !== true))
}
