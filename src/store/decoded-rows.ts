import { LRUCache } from 'lru-cache'
import { TupleView } from '../change/change.js'
import { integerOf } from '../sql/compare-bytes.js'
import type { Address, RowId } from './address.js'
import type { Chains } from './chains.js'
import { ReadLately } from './read-lately.js'
import type { Bounds } from './recency.js'
import { KeyBuffer, type RecordFormat } from './record.js'
import { ASCII, DECODED } from './slab.js'
import type { DecodedKey, TableLayout } from './table-layout.js'
import type { Truncations } from './truncations.js'

/** How many decoded rows a table keeps; the packed rows are bounded by bytes. */
const DECODED_MAX = 8192
/** Of the rows that an index finds and that could be kept in place of another one, one in so many is; and of its reads of those that are kept, one in so many counts as a read lately. */
const ONE_IN = 16

/**
 * A table's rows as objects: those that are read often are kept decoded, by key, as long as they are the newest version, with nothing newer on the
 * way. So what is found here is what every new reader is to see.
 */
export class DecodedRows {
  readonly byKey: LRUCache<DecodedKey, object>
  readonly #layout: TableLayout
  readonly #format: RecordFormat
  readonly #chains: Chains
  readonly #truncations: Truncations
  readonly #view = new TupleView()
  readonly #readLately = new ReadLately(2 * DECODED_MAX)
  /** Answers have many rows: what does not fit must not push out one after the other what would. */
  readonly #foundLately = new ReadLately(DECODED_MAX / 2)
  /** Counts what is done once in so many times. */
  #displacing = 0
  #looking = 0

  /** `onEvicted` is told the key of each row that left for another: while it was here, no read of it was noted anywhere else. */
  constructor(
    layout: TableLayout,
    parts: { format: RecordFormat; chains: Chains; truncations: Truncations },
    onEvicted: (key: KeyBuffer) => void,
  ) {
    this.#layout = layout
    this.#format = parts.format
    this.#chains = parts.chains
    this.#truncations = parts.truncations
    this.byKey =
      layout.bounds === undefined ? new LRUCache({ max: DECODED_MAX }) : lruOf(layout.bounds, onEvicted)
  }

  /** The row that this record holds, made anew. */
  decode(record: Address): object {
    const { slab } = this.#chains
    this.#format.read(slab.page(record), slab.dataStart(record), this.#view)
    return this.#layout.decode(this.#view, slab.has(record, ASCII))
  }

  /** Of the newest version of a row what is kept under its key; undefined if nothing is. */
  kept(record: Address, decodedKey: DecodedKey): object | undefined {
    const { slab } = this.#chains
    if (!slab.has(record, DECODED)) return undefined
    const kept = this.byKey.get(decodedKey)
    if (kept === undefined) slab.unset(record, DECODED)
    return kept
  }

  /** As `decode`, of the newest version of a row, which is looked up by its key: it is kept from now on if that is often. */
  keyed(record: Address, row: RowId, decodedKey: DecodedKey): object {
    const decoded = this.decode(record)
    if (this.#readLately.seen(row)) this.#keep(record, decodedKey, decoded)
    return decoded
  }

  /**
   * What this record of `row`, which a reader sees, holds: the row that is kept, if it is, or one that is kept from now on if it is read often. Hot: once
   * for each row of an answer.
   */
  found(record: Address, row: RowId): object {
    if (this.#chains.rows.head(row) !== record) return this.decode(record)
    const kept = this.#foundKept(record)
    if (kept !== undefined) return kept
    const decoded = this.decode(record)
    if (this.#deservesPlace(row)) this.#keep(record, this.keyOf(record), decoded)
    return decoded
  }

  /** As `found`, of a record that `view` shows. `isNewest`: it is known to be the newest version of its row; else that is looked up. */
  shown(record: Address, view: TupleView, isNewest: boolean): object {
    const { slab, rows } = this.#chains
    const isAscii = slab.has(record, ASCII)
    const row = slab.rowId(record)
    if (!isNewest && rows.head(row) !== record) return this.#layout.decode(view, isAscii)
    const kept = this.#foundKept(record)
    if (kept !== undefined) return kept
    const decoded = this.#layout.decode(view, isAscii)
    if (this.#deservesPlace(row)) this.#keep(record, this.keyOf(record), decoded)
    return decoded
  }

  /** Of the newest version of a row what is kept; undefined if nothing is. */
  #foundKept(record: Address): object | undefined {
    const { slab } = this.#chains
    if (!slab.has(record, DECODED)) return undefined
    const decodedKey = this.keyOf(record)
    const isNoted = ++this.#looking % ONE_IN === 0
    const kept = isNoted ? this.byKey.get(decodedKey) : this.byKey.peek(decodedKey)
    // Another row has driven it out, and it has to deserve its place anew.
    if (kept === undefined) slab.unset(record, DECODED)
    return kept
  }

  /** Where there is no room left, only some of the rows that could be are kept: to drive out one of them for another costs more than it saves. */
  #deservesPlace(row: RowId): boolean {
    if (!this.#foundLately.seen(row)) return false
    return this.byKey.size < this.byKey.max || ++this.#displacing % ONE_IN === 0
  }

  /** Not behind a truncation, published or pending: a snapshot may still read what that one killed. */
  #keep(record: Address, decodedKey: DecodedKey, decoded: object): void {
    const { slab } = this.#chains
    if (slab.seq(record) < this.#truncations.newest) return
    slab.set(record, DECODED)
    this.byKey.set(decodedKey, decoded)
  }

  /** The row that readers get instead of decoding this record; undefined if there is none. */
  peek(record: Address): object | undefined {
    return this.#chains.slab.has(record, DECODED) ? this.byKey.peek(this.keyOf(record)) : undefined
  }

  /** Whether the row of this newest version is kept. */
  has(head: Address): boolean {
    return this.#chains.slab.has(head, DECODED) && this.byKey.has(this.keyOf(head))
  }

  /** This version is not the newest any more, or about not to be. */
  drop(head: Address): void {
    if (this.#chains.slab.has(head, DECODED)) this.byKey.delete(this.keyOf(head))
  }

  keyOf(record: Address): DecodedKey {
    const { slab } = this.#chains
    const page = slab.page(record)
    this.#format.readKey(page, slab.dataStart(record), this.#view)
    const { key, integerKey } = this.#layout
    const { starts, ends } = this.#view
    if (integerKey) return integerOf(page, starts[key[0]!]!, ends[key[0]!]!)
    return key.map(column => page.toString('utf8', starts[column], ends[column])).join('\0')
  }

  clear(): void {
    this.byKey.clear()
  }
}

function lruOf({ maxRows }: Bounds, onEvicted: (key: KeyBuffer) => void): LRUCache<DecodedKey, object> {
  const key = new KeyBuffer()
  return new LRUCache<DecodedKey, object>({
    max: Math.max(1, Math.min(DECODED_MAX, Math.floor((maxRows ?? 2 * DECODED_MAX) / 2))),
    dispose: (_, decodedKey, reason) => {
      if (reason !== 'evict') return
      key.clear()
      if (typeof decodedKey === 'number') key.appendInteger(decodedKey)
      else for (const text of decodedKey.split('\0')) key.append(text)
      onEvicted(key)
    },
  })
}
