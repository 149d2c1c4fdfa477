import { type ChangeSink, TEXT, type TupleView, UNCHANGED } from '../../src/change/change.js'
import { type Lsn, maxLsn } from '../../src/change/lsn.js'
import type { Relation } from '../../src/change/relation.js'
import type { Item } from './schema.js'

/** A row, or that there was none, from one commit on. */
interface Version {
  readonly from: Lsn
  readonly row: Item | null
}

/** Where each column is in the relation's tuples. */
export type RecordedRelation = Readonly<Record<keyof Item, number>>

/** What the rows were after each commit, as the change stream tells it. */
export class ItemHistory implements ChangeSink<RecordedRelation> {
  /** Everything before it is known. */
  position: Lsn
  /** How many changes there were. */
  changes = 0
  /** The rows as they are, the transaction in progress included. */
  readonly #rows = new Map<number, Item>()
  /** Keys that the transaction in progress has changed. */
  readonly #touched = new Set<number>()
  readonly #versions = new Map<number, Version[]>()
  /** The keys of all rows that had a code, or a group, at any commit that is kept. */
  readonly #holders = new Map<string, Set<number>>()
  readonly #members = new Map<number, Set<number>>()

  constructor(rows: readonly Item[], position: Lsn) {
    this.position = position
    for (const row of rows) {
      this.#rows.set(row.id, row)
      this.#note(row.id, { from: position, row })
    }
  }

  /** The keys of all rows that had this code at any commit that is kept. */
  holders(code: string): Iterable<number> {
    return this.#holders.get(code) ?? []
  }

  /** The keys of all rows that were in this group at any commit that is kept. */
  members(grp: number): Iterable<number> {
    return this.#members.get(grp) ?? []
  }

  /** The row with this key as of the commit at or before `lsn`. */
  at(key: number, lsn: Lsn): Item | null {
    return this.#versions.get(key)?.findLast(({ from }) => from <= lsn)?.row ?? null
  }

  /** The positions, from `from` to `to`, at which one of these keys' rows became another, and `from` itself. */
  turns(keys: Iterable<number>, from: Lsn, to: Lsn): Lsn[] {
    const turns = new Set([from])
    for (const key of keys)
      for (const { from: turn } of this.#versions.get(key) ?? [])
        if (turn > from && turn <= to) turns.add(turn)
    return [...turns]
  }

  /** Forgets what no read can be about any more. */
  forgetBefore(lsn: Lsn): void {
    for (const versions of this.#versions.values()) {
      const keep = versions.findLastIndex(({ from }) => from <= lsn)
      if (keep > 0) versions.splice(0, keep)
    }
    this.#holders.clear()
    this.#members.clear()
    for (const [key, versions] of this.#versions) for (const { row } of versions) this.#file(key, row)
  }

  /** Lets the key be found by what its row has. */
  #file(key: number, row: Item | null): void {
    if (row === null) return
    addTo(this.#holders, row.code, key)
    addTo(this.#members, row.grp, key)
  }

  begin(): void {
    // A transaction that was cut off would end the recording.
  }

  relation({ columns }: Relation): RecordedRelation {
    const place = (name: keyof Item): number => columns.findIndex(column => column.name === name)
    return { id: place('id'), code: place('code'), grp: place('grp'), n: place('n'), big: place('big') }
  }

  insert(places: RecordedRelation, row: TupleView): void {
    this.#put(Number(textAt(row, places.id)), places, row)
  }

  update(places: RecordedRelation, old: TupleView | null, _oldIsFull: boolean, row: TupleView): void {
    this.#put(Number(textAt(old ?? row, places.id)), places, row)
  }

  delete(places: RecordedRelation, old: TupleView): void {
    this.#remove(Number(textAt(old, places.id)))
    this.changes++
  }

  truncate(): void {
    for (const key of this.#rows.keys()) this.#remove(key)
    this.changes++
  }

  message(): void {
    // Changes no row.
  }

  commit(endLsn: Lsn): void {
    for (const key of this.#touched) this.#note(key, { from: endLsn, row: this.#rows.get(key) ?? null })
    this.#touched.clear()
    this.progress(endLsn)
  }

  progress(lsn: Lsn): void {
    this.position = maxLsn(this.position, lsn)
  }

  /** `oldKey` is that of the row before, whose values stand where none were sent. */
  #put(oldKey: number, places: RecordedRelation, row: TupleView): void {
    const isUnsent = row.kinds[places.big] === UNCHANGED
    const item = {
      id: Number(textAt(row, places.id)),
      code: textAt(row, places.code),
      grp: Number(textAt(row, places.grp)),
      n: Number(textAt(row, places.n)),
      big: isUnsent ? this.#rows.get(oldKey)!.big : textAt(row, places.big),
    }
    if (oldKey !== item.id) this.#remove(oldKey)
    this.#rows.set(item.id, item)
    this.#touched.add(item.id)
    this.changes++
  }

  #remove(key: number): void {
    this.#rows.delete(key)
    this.#touched.add(key)
  }

  #note(key: number, version: Version): void {
    const versions = this.#versions.get(key) ?? []
    this.#versions.set(key, versions)
    versions.push(version)
    this.#file(key, version.row)
  }
}

function addTo<K>(sets: Map<K, Set<number>>, name: K, key: number): void {
  const set = sets.get(name)
  if (set === undefined) sets.set(name, new Set([key]))
  else set.add(key)
}

function textAt({ kinds, bytes, starts, ends }: TupleView, place: number): string {
  if (kinds[place] !== TEXT) throw new Error('A value of a recorded row was not sent.')
  return Buffer.from(
    bytes.buffer,
    bytes.byteOffset + starts[place]!,
    ends[place]! - starts[place]!,
  ).toString()
}
