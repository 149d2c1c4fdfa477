import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import { toTableChange } from '../src/cache/changes.js'
import { liveTable } from '../src/cache/live-table.js'
import { TEXT, TupleView } from '../src/change/change.js'
import type { Lsn } from '../src/change/lsn.js'
import { ChangeIterator } from '../src/feed/changes.js'
import { ChangeFeed } from '../src/feed/feed.js'
import { MORE } from '../src/feed/subscription.js'
import type { LiveTable } from '../src/query/live.js'
import { type RowFilter, rowFilter } from '../src/query/row-filter.js'
import type { TableChange } from '../src/query/types.js'
import { systemRuntime } from '../src/runtime.js'
import { Store } from '../src/store/store.js'
import { mappingOf } from '../test/support/table.js'
import type { Benchmark, Figure } from './support/benchmark.js'
import { figuresOf, type Subject, takeTurns } from './support/rounds.js'

const ROUNDS = 5
const CHANGES = 200_000
const ROWS = 2_000
const READERS = 1_000
const CHANGES_PER_COMMIT = 10
/** A thousand readers that look at every change are measured with so many fewer of them. */
const FEWER = 100
const NO_FEED = 'without a feed'
const NOBODY = 'a feed, and nobody follows'
const ONE = '1 reader of all changes'
const INDEXED = `${READERS} readers, each of one value`
const SCANNING = `${READERS} readers, each looking at every change`

export const feed: Benchmark = {
  name: 'feed',
  question: 'what do readers of changes cost, none, one and a thousand?',
  floor: 'the same updates without a feed. All in memory: no PostgreSQL, no stream',
  async run(options) {
    const changes = options.rows ?? CHANGES
    const rounds = options.rounds ?? ROUNDS
    options.progress(`${changes.toLocaleString('en')} updates of ${ROWS.toLocaleString('en')} rows, each way`)
    const applied = await takeTurns(
      [NO_FEED, NOBODY].map(name => ({ name, turn: () => apply(changes, name === NOBODY) })),
      rounds,
    )
    const valueOf = ({ mapping }: LiveTable, reader: number): { where: object } => ({
      where: { [mapping.columns[1]!.property]: ownerOf(reader) },
    })
    const indexed = (live: LiveTable, reader: number): RowFilter =>
      rowFilter(live, valueOf(live, reader).where)
    const scanning = (live: LiveTable, reader: number): RowFilter => ({
      ...indexed(live, reader),
      equality: null,
    })
    const subjects: readonly Subject[] = [
      { name: ONE, turn: () => deliver(changes, 1, null) },
      { name: INDEXED, turn: () => deliver(changes, READERS, indexed) },
      { name: SCANNING, turn: () => deliver(changes / FEWER, READERS, scanning) },
    ]
    const delivered = await takeTurns(subjects, rounds)
    const named = (what: string, figures: readonly Figure[]): Figure[] =>
      figures.map(figure => ({ ...figure, what: `${figure.what}: ${what}` }))
    const unit = { unit: 'changes/s', better: 'more' } as const
    return [
      ...named(
        'applied',
        figuresOf(applied, unit, [{ what: NO_FEED }, { what: NOBODY, against: NO_FEED, goal: '1' }]),
      ),
      ...named(
        'applied and delivered',
        figuresOf(delivered, unit, [
          { what: ONE },
          { what: INDEXED, against: ONE },
          { what: SCANNING, against: INDEXED },
        ]),
      ),
    ]
  },
}

const ownerOf = (row: number): string => `owner ${row % READERS}`

/** A table whose rows are updated one after another, some in each commit. */
class Updated {
  readonly store = new Store({ limitBytes: 2 ** 30, tableLimitBytes: 2 ** 30, hashSeed: 1 })
  readonly live = liveTable(this.store, mappingOf('documents', ['id', 'owner', 'title'], ['id']))
  readonly #order = this.live.table.format.order(column => column)
  readonly #rows = Array.from({ length: ROWS }, (_, id) => tupleOf([String(id), ownerOf(id), 'a title']))
  #lsn = 0n
  #next = 0

  constructor() {
    const seq = this.store.begin()
    for (const row of this.#rows) this.live.table.insert(row, this.#order, seq)
    this.store.publish(++this.#lsn as Lsn)
  }

  commit(changes: ChangeFeed<LiveTable> | null): void {
    const seq = this.store.begin()
    for (let i = 0; i < CHANGES_PER_COMMIT; i++)
      this.live.table.update(null, false, this.#rows[this.#next++ % ROWS]!, this.#order, seq)
    this.store.publish(++this.#lsn as Lsn)
    changes?.published(this.#lsn as Lsn)
    this.store.maintain(4 * CHANGES_PER_COMMIT)
  }
}

function tupleOf(texts: readonly string[]): TupleView {
  const view = new TupleView()
  view.bytes = Buffer.from(texts.join(''))
  view.count = texts.length
  let at = 0
  for (const [column, text] of texts.entries()) {
    view.kinds[column] = TEXT
    view.starts[column] = at
    at += text.length
    view.ends[column] = at
  }
  return view
}

const feedOf = (): ChangeFeed<LiveTable> =>
  new ChangeFeed({ limitBytes: 32 * 2 ** 20, historyMs: 0, timers: systemRuntime.timers })

async function apply(changes: number, withFeed: boolean): Promise<number> {
  const table = new Updated()
  const nobody = withFeed ? feedOf() : null
  const commits = changes / CHANGES_PER_COMMIT
  // Once there was a reader.
  nobody?.unsubscribe(nobody.subscribe({ table: 0, live: table.live, midTransaction: false }))
  const startedMs = performance.now()
  for (let i = 0; i < commits; i++) table.commit(nobody)
  return (changes / (performance.now() - startedMs)) * 1000
}

/** Applies the changes in turns with their readers, until those have got all of them. */
async function deliver(
  changes: number,
  readers: number,
  filter: ((live: LiveTable, reader: number) => RowFilter) | null,
): Promise<number> {
  const table = new Updated()
  const changeFeed = feedOf()
  const { signal, abort } = ending()
  let delivered = 0
  const reading = Array.from({ length: readers }, async (_, reader) => {
    const iterator = follow(table, changeFeed, signal, filter === null ? null : live => filter(live, reader))
    for await (const change of iterator) {
      assert(change.kind === 'update', 'there is no gap')
      assert(filter === null || Number(change.key['id']) % READERS === reader, 'it is one of its own')
      delivered++
    }
  })
  const startedMs = performance.now()
  for (let i = 1; i <= changes / CHANGES_PER_COMMIT; i++) {
    table.commit(changeFeed)
    if (i % 50 === 0 || i === changes / CHANGES_PER_COMMIT)
      while (delivered < i * CHANGES_PER_COMMIT) await systemRuntime.timers.yield()
  }
  const elapsedMs = performance.now() - startedMs
  assert.equal(delivered, changes, 'every change is delivered once')
  abort()
  await Promise.all(reading)
  return (changes / elapsedMs) * 1000
}

function ending(): { readonly signal: AbortSignal; readonly abort: () => void } {
  const controller = new AbortController()
  // Each reader listens to it.
  setMaxListeners(0, controller.signal)
  return { signal: controller.signal, abort: () => controller.abort() }
}

function follow(
  { live }: Updated,
  changes: ChangeFeed<LiveTable>,
  closing: AbortSignal,
  filter: ((live: LiveTable) => RowFilter) | null,
): AsyncIterable<TableChange<Record<string, unknown>>> {
  const subscription = changes.subscribe({
    table: 0,
    live,
    midTransaction: false,
    ...(filter === null ? {} : { filter }),
  })
  return new ChangeIterator({
    timers: systemRuntime.timers,
    feed: changes,
    subscription,
    read: () => {
      const entry = subscription.read()
      if (entry === null || entry === MORE) return entry
      return toTableChange(entry, live, '') as TableChange<Record<string, unknown>>
    },
    signal: undefined,
    closing,
  })
}
