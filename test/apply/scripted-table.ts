/** A bounded table, its stream and its queries, all in a test's hands. */
import { CommitLog } from '../../src/apply/commit-log.js'
import { Filler } from '../../src/apply/fill.js'
import { FILL_RULES, type FillRules } from '../../src/apply/fill-rules.js'
import { liveTable } from '../../src/cache/live-table.js'
import { formatLsn, type Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import type { Xid8 } from '../../src/change/xid.js'
import { NotLocalError } from '../../src/errors.js'
import { fillByKey, fillQuery } from '../../src/query/fill.js'
import { type LiveTable, lookUp } from '../../src/query/live.js'
import { readFindMany } from '../../src/query/query.js'
import type { QueryConnection, TextRow } from '../../src/runtime.js'
import { Store } from '../../src/store/store.js'
import { applierOf } from '../support/applier.js'
import { mappingOf, relationOf } from '../support/table.js'
import { type TupleValue, tupleOf } from '../support/tuple.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

type Values = readonly [id: string, val: string, big: string]

interface Reply {
  readonly snapshot: string
  readonly position: number
  /** Rows with the transaction that wrote them. */
  readonly rows?: readonly (readonly [xmin: number, ...Values])[]
  readonly recovering?: boolean
  readonly started?: string
}

/** A query that was sent, to be answered by the test. */
interface Asked {
  readonly keys: string
  reply(reply: Reply): Promise<void>
  fail(error: Error): Promise<void>
}

export const tick = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** A bounded table, its stream and its queries, in the test's hands. The visible state begins at position 0x100. */
export function open(rules: FillRules = FILL_RULES, slotSnapshot = '1:1:') {
  const runtime = new VirtualRuntime()
  const store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 26, hashSeed: 1 })
  const mapping = {
    ...mappingOf('items', ['id', 'val', 'big'], ['id']),
    indexes: [[1]],
    keep: { maxRows: 10, maxBytes: null },
  }
  const whole = liveTable(store, mapping)
  const log = new CommitLog(1n as Xid8)
  const asked: Asked[] = []
  let nudges = 0
  const filler = new Filler({
    log,
    timers: runtime.timers,
    waitMs: 100,
    position: () => store.position,
    visible: () => store.visible,
    startedAt: () => 'start',
    normalise: position => position,
    nudge: () => void nudges++,
    suspect: () => undefined,
    slotSnapshot: SqlSnapshot.parse(slotSnapshot),
    rules,
    run: <T>(work: (session: QueryConnection) => Promise<T>): Promise<T> =>
      work({
        query: (sql: string, parameters: readonly string[] = []) =>
          sql.startsWith('SELECT s.*')
            ? new Promise<TextRow[]>((resolve, reject) => {
                asked.push({
                  keys: parameters.join(' '),
                  reply: async given => {
                    resolve(textRows(given))
                    await tick()
                  },
                  fail: async error => {
                    reject(error)
                    await tick()
                  },
                })
              })
            : Promise.resolve([]),
      } as unknown as QueryConnection),
  })
  const live: LiveTable = { ...whole, filler }
  const applier = applierOf(store, [live], {
    runtime,
    log,
    onPosition: () => filler.moved(),
    onAborted: () => filler.moved(),
  })
  store.begin()
  store.publish(0x100n as Lsn)
  const relation = relationOf(mapping)
  const bound = applier.relation(relation)!
  const tuple = (values: readonly TupleValue[]) => tupleOf(...values)
  return {
    runtime,
    store,
    live,
    log,
    filler,
    asked,
    nudges: () => nudges,
    begin: (xid: number) => applier.begin(xid),
    insert: (...row: readonly TupleValue[]) => applier.insert(bound, tuple(row)),
    update: (...row: readonly TupleValue[]) => applier.update(bound, null, false, tuple(row)),
    move: (from: string, ...row: readonly TupleValue[]) =>
      applier.update(bound, tuple([from, null, null]), false, tuple(row)),
    /** As under replica identity full: the whole row before is sent. */
    updateFull: (old: Values, ...row: readonly TupleValue[]) =>
      applier.update(bound, tupleOf(...old), true, tuple(row)),
    removeFull: (...old: Values) => applier.delete(bound, tuple(old), true),
    remove: (id: string) => applier.delete(bound, tuple([id, null, null]), false),
    truncate: () => applier.truncate([bound]),
    cutOff: () => applier.cutOff(),
    async commit(end: number) {
      applier.commit(BigInt(end) as Lsn, 0)
      await tick()
    },
    async keepalive(position: number) {
      applier.progress(BigInt(position) as Lsn)
      await tick()
    },
    missing: (id: number, fresh = false) => fillByKey(live, { id }, fresh),
    local: (id: number): object | undefined | 'unknown' =>
      unlessUnknown(() => lookUp(live, id, store.visible)),
    /** Asks for all rows with this `val`, once the query has been sent. */
    async group(val: string) {
      const query = readFindMany(mapping, { where: { val } })
      const answer = fillQuery(live, query).then(
        found => (found === undefined ? 'late' : found.rows),
        (error: unknown) => error,
      )
      await tick()
      return { answer }
    },
    localGroup: (val: string, at = store.visible): object[] | 'unknown' =>
      unlessUnknown(() =>
        live.finder.findChecked(readFindMany(mapping, { where: { val }, orderBy: { id: 'asc' } }), at),
      ),
  }
}

function unlessUnknown<T>(read: () => T): T | 'unknown' {
  try {
    return read()
  } catch (error) {
    if (error instanceof NotLocalError) return 'unknown'
    throw error
  }
}

function textRows({
  snapshot,
  position,
  rows = [],
  recovering = false,
  started = 'start',
}: Reply): TextRow[] {
  const common = {
    snapshot,
    recovering: recovering ? 't' : 'f',
    same: 't',
    started,
    position: formatLsn(BigInt(position) as Lsn),
  }
  if (rows.length === 0) return [{ ...common, xmin: null, c0: null, c1: null, c2: null }]
  return rows.map(([xmin, c0, c1, c2]) => ({ ...common, xmin: String(xmin), c0, c1, c2 }))
}

export const row = (id: number, val: string, big = 'big') => ({ id, val, big })
