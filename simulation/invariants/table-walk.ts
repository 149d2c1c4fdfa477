import { isDeepStrictEqual } from 'node:util'
import { NULL, TEXT, TupleView } from '../../src/change/change.js'
import { type Address, type CommitSeq, NONE, type RowId } from '../../src/store/address.js'
import type { Chains } from '../../src/store/chains.js'
import type { StoredIndex } from '../../src/store/index/stored-index.js'
import type { SizeHistory } from '../../src/store/size-history.js'
import { ASCII, TOMBSTONE } from '../../src/store/slab.js'
import type { TableStore } from '../../src/store/table.js'
import { must } from './violation.js'

/** What a table shows to nobody but its own classes. */
interface Inside {
  readonly chains: Chains
  readonly sizes: SizeHistory
}

/** Of a record, what is not its values. */
const HEADER_BYTES = 18

/** Walks all that a table holds, as the state `visible` leaves it between two transactions. @throws {InvariantError} */
export function walkTable(table: TableStore, visible: CommitSeq): void {
  if (table.failed === null) new TableWalk(table, visible).run()
}

class TableWalk {
  readonly #table: TableStore
  readonly #visible: CommitSeq
  readonly #chains: Chains
  readonly #view = new TupleView()
  readonly #entries: Entries[]
  #records = 0
  #alive = 0
  #decoded = 0

  constructor(table: TableStore, visible: CommitSeq) {
    this.#table = table
    this.#visible = visible
    this.#chains = (table as unknown as Inside).chains
    const { list, seed } = this.#chains.indexes
    this.#entries = list.map(index => new Entries(index, seed))
  }

  run(): void {
    const { rows, slab } = this.#chains
    for (let row = 0; row < rows.end; row++) {
      const head = rows.head(row)
      if (head !== NONE) this.#row(row, head)
    }
    const lost = slab.records - this.#records
    this.#must(lost === 0, 'I4', () => `${lost} records are in no chain`)
    this.#checkDecoded()
    this.#checkSize()
    for (const { problem } of this.#entries) this.#must(problem === null, 'I7', () => problem!)
  }

  #checkDecoded(): void {
    const stale = this.#table.decoded.size - this.#decoded
    this.#must(stale === 0, 'I5', () => `${stale} decoded rows are of no newest version`)
  }

  #checkSize(): void {
    if (this.#table.residency !== null) return
    const size = (this.#table as unknown as Inside).sizes.at(this.#visible)
    this.#must(this.#alive === size, 'I5', () => `it counts ${size} rows and has ${this.#alive}`)
  }

  #row(row: RowId, head: Address): void {
    const { slab } = this.#chains
    const isFound = this.#chains.findKeyOf(head) === row && this.#chains.foundHead === head
    this.#must(isFound, 'I7', () => `row ${row} is not found by its key`)
    let newer = Number.POSITIVE_INFINITY
    for (let record = head; record !== NONE; record = slab.older(record)) {
      this.#link(row, head, record, newer)
      newer = slab.seq(record)
      this.#records++
      if (!slab.has(record, TOMBSTONE)) this.#version(row, record)
    }
    if (this.#table.recordAt(row, this.#visible) !== NONE) this.#alive++
    this.#decodedRow(row, head)
  }

  #link(row: RowId, head: Address, record: Address, newer: CommitSeq): void {
    const { slab } = this.#chains
    const seq = slab.seq(record)
    this.#must(
      seq <= this.#visible,
      'I4',
      () => `row ${row} has a version of ${seq}, and ${this.#visible} is visible`,
    )
    this.#must(seq < newer, 'I3', () => `the versions of row ${row} do not descend: ${newer}, ${seq}`)
    const isIts = slab.rowId(record) === row && this.#keyOf(record).equals(this.#keyOf(head))
    this.#must(isIts, 'I3', () => `a version of row ${row} is another row's`)
  }

  #keyOf(record: Address): Buffer {
    const { slab } = this.#chains
    const page = slab.page(record)
    const start = slab.dataStart(record)
    return page.subarray(start, this.#table.format.keyEnd(page, start))
  }

  /** All cells are a text or NULL, and within the record. */
  #version(row: RowId, record: Address): void {
    const { slab } = this.#chains
    const { format } = this.#table
    const page = slab.page(record)
    const start = slab.dataStart(record)
    const end = format.end(page, start)
    this.#must(
      end - start + HEADER_BYTES <= slab.size(record),
      'I9',
      () => `row ${row} goes beyond its record`,
    )
    this.#view.kinds.fill(UNSET, 0, format.columns)
    format.read(page, start, this.#view)
    const { kinds, starts, ends } = this.#view
    for (let column = 0; column < format.columns; column++) {
      const isText = kinds[column] === TEXT
      this.#must(isText || kinds[column] === NULL, 'I9', () => `row ${row} lacks column ${column}`)
      if (isText && slab.has(record, ASCII))
        this.#must(isAscii(page, starts[column]!, ends[column]!), 'I9', () => `row ${row} is not ASCII`)
    }
    for (const entries of this.#entries) entries.expect(this.#view, row)
  }

  /** What is kept decoded is what its record holds. */
  #decodedRow(row: RowId, head: Address): void {
    const kept = this.#table.decodedOf(head)
    if (kept === undefined) return
    this.#decoded++
    const isSame = isDeepStrictEqual(kept, this.#table.decode(head))
    this.#must(isSame, 'I5', () => `row ${row} is kept decoded as another one`)
  }

  #must(isTrue: boolean, invariant: string, what: () => string): void {
    must(isTrue, invariant, () => `${this.#table.layout.name}: ${what()}.`)
  }
}

/** No kind that a value has. */
const UNSET = 255

function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at]! >= 0x80) return false
  return true
}

/** The entries that an index has to have: one for each row and value that a version of the row has. */
class Entries {
  readonly #index: StoredIndex
  readonly #seed: number
  readonly #expected = new Map<string, { readonly key: Float64Array; readonly row: RowId }>()

  constructor(index: StoredIndex, seed: number) {
    this.#index = index
    this.#seed = seed
  }

  expect(view: TupleView, row: RowId): void {
    const key = new Float64Array(this.#index.key.width)
    this.#index.key.write(view, key, this.#seed)
    this.#expected.set(`${row} ${key.join(' ')}`, { key, row })
  }

  /** What is wrong with the index; null if nothing is. */
  get problem(): string | null {
    const { size } = this.#index
    if (size !== this.#expected.size) return `an index has ${size} entries instead of ${this.#expected.size}`
    for (const { key, row } of this.#expected.values())
      if (!this.#index.rowsOf(key).includes(row)) return `an index does not find row ${row}`
    return null
  }
}
