import { TEXT, TupleView } from '../change/change.js'
import type { RecordFormat } from '../store/record.js'
import type { PackedRow } from '../store/packed-row.js'
import type { TableStore } from '../store/table.js'
import type { LogEntry } from './commit-log.js'

/** The bytes of a key as a map's key: records begin with them. */
export function idOf(keyBytes: Buffer): string {
  return keyBytes.toString('latin1')
}

/** What a query saw under some keys: their rows, null where there was none. */
export type FillImage = ReadonlyMap<string, PackedRow | null>

/** What a key has come to after the commits that the query did not see. */
export type MergedKey =
  | { readonly kind: 'known'; readonly row: PackedRow | null }
  /** A value of the row is not to be had: it is the one of the row under `base`, before a commit that moved or changed that. */
  | { readonly kind: 'incomplete'; readonly base: string }
  /** The log no longer says what a commit made of the key, or contradicts itself: a later query has to be asked. */
  | { readonly kind: 'ask again' }

const ASK_AGAIN: MergedKey = { kind: 'ask again' }
const ABSENT: MergedKey = { kind: 'known', row: null }

/**
 * Brings what a query saw to the visible state: `entries` are the commits that it may not have seen, in their order, and `sees` says of
 * each whether it has.
 *
 * The commits of one key that a query sees are those before the ones that it does not see, since a second writer of a row waits until the first
 * one's commit is visible. Should that ever not hold, the query is asked again.
 */
export function mergeCommits(
  image: FillImage,
  table: TableStore,
  entries: readonly LogEntry[],
  sees: (entry: LogEntry) => boolean,
): Map<string, MergedKey> {
  const merge = new Merge(image, table.format)
  for (const entry of entries) {
    const changes = entry.tables.get(table)
    if (changes === undefined) continue
    const isSeen = sees(entry)
    if (isSeen && !merge.isTouched) continue
    if (changes.isWhole) changes.replay(isSeen ? merge.contradicting : merge.applying)
    else merge.lose(key => changes.touches(key))
  }
  return merge.keys
}

class Merge {
  readonly keys = new Map<string, MergedKey>()
  readonly #format: RecordFormat
  /** Keys that an invisible commit has changed. */
  readonly #touched = new Set<string>()

  constructor(image: FillImage, format: RecordFormat) {
    this.#format = format
    for (const [id, row] of image) this.keys.set(id, { kind: 'known', row })
  }

  get isTouched(): boolean {
    return this.#touched.size > 0
  }

  readonly applying = {
    put: (key: Buffer, row: Buffer, ascii: boolean): void => {
      this.#set(key, () => ({ kind: 'known', row: { bytes: row, ascii } }))
    },
    putPartly: (key: Buffer, baseKey: Buffer, row: Buffer, missing: readonly number[]): void => {
      this.#set(key, () => {
        const base = this.keys.get(idOf(baseKey))
        if (base?.kind === 'incomplete') return base
        if (base?.kind !== 'known' || base.row === null) return { kind: 'incomplete', base: idOf(baseKey) }
        return { kind: 'known', row: fillIn(this.#format, row, missing, base.row) }
      })
    },
    remove: (key: Buffer): void => this.#set(key, () => ABSENT),
    truncate: (): void => {
      for (const id of this.keys.keys()) {
        this.keys.set(id, ABSENT)
        this.#touched.add(id)
      }
    },
  }

  /** Of a commit that is seen, after one that is not: no key may be in both. */
  readonly contradicting = {
    put: (key: Buffer): void => this.#contradict(idOf(key)),
    putPartly: (key: Buffer): void => this.#contradict(idOf(key)),
    remove: (key: Buffer): void => this.#contradict(idOf(key)),
    truncate: (): void => {
      for (const id of this.#touched) this.#contradict(id)
    },
  }

  #set(key: Buffer, state: () => MergedKey): void {
    const id = idOf(key)
    const known = this.keys.get(id)
    if (known === undefined) return
    this.#touched.add(id)
    if (known.kind !== 'ask again') this.keys.set(id, state())
  }

  #contradict(id: string): void {
    if (this.#touched.has(id)) this.keys.set(id, ASK_AGAIN)
  }

  lose(isChanged: (key: Buffer) => boolean): void {
    for (const id of this.keys.keys()) if (isChanged(Buffer.from(id, 'latin1'))) this.keys.set(id, ASK_AGAIN)
  }
}

/** The row, with the values at `missing` places taken from `base`. */
export function fillIn(
  format: RecordFormat,
  row: Buffer,
  missing: readonly number[],
  base: PackedRow,
): PackedRow {
  const ofRow = valuesOf(format, row)
  const ofBase = valuesOf(format, base.bytes)
  for (const place of missing) ofRow[place] = ofBase[place]!
  return { bytes: format.pack(ofRow), ascii: false }
}

/** A record's values by their places. */
function valuesOf(format: RecordFormat, record: Buffer): (Uint8Array | null)[] {
  const view = new TupleView()
  format.read(record, 0, view)
  return Array.from({ length: format.columns }, (_, place) => {
    const column = format.column(place)
    return view.kinds[column] === TEXT ? record.subarray(view.starts[column], view.ends[column]) : null
  })
}
