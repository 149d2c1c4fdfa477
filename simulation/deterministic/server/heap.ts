import { EXTERNAL_LENGTH, keyOf, type TableSpec, type Texts } from '../schema.js'
import type { Snapshot } from './snapshot.js'

/** One version of a row. Transactions see the newest one whose writer they see. */
export interface RowVersion {
  /** The top-level transaction that wrote it. */
  readonly xid: number
  /** What the row's `xmin` shows: it may be a subtransaction's. */
  readonly rowXid: number
  readonly texts: Texts | null
  older: RowVersion | null
}

/** A table's rows, and the file that they are in. */
export class Heap {
  rows = new Map<string, RowVersion>()
  file: number
  /** Each file that the table has had, and which transaction put it there. */
  readonly files: { readonly xid: number; readonly file: number }[] = []

  constructor(readonly spec: TableSpec) {
    this.file = spec.oid
    this.files.push({ xid: 0, file: spec.oid })
  }

  /** The version that this snapshot sees. */
  visible(key: string, snapshot: Snapshot): RowVersion | null {
    let version = this.rows.get(key) ?? null
    while (version !== null && !snapshot.sees(version.xid)) version = version.older
    return version === null || version.texts === null ? null : version
  }

  *allVisible(snapshot: Snapshot): IterableIterator<RowVersion> {
    for (const key of this.rows.keys()) {
      const version = this.visible(key, snapshot)
      if (version !== null) yield version
    }
  }

  /** The catalogue's idea of the table's file, as of a snapshot. */
  fileAsOf(snapshot: Snapshot): number {
    for (let i = this.files.length - 1; i > 0; i--)
      if (snapshot.sees(this.files[i]!.xid)) return this.files[i]!.file
    return this.files[0]!.file
  }

  /** Starts afresh with these rows, long committed. */
  reset(rows: Iterable<[key: string, texts: Texts, xid: number]>): void {
    this.rows = new Map()
    for (const [key, texts, xid] of rows) this.rows.set(key, { xid, rowXid: xid, texts, older: null })
  }

  key(texts: Texts): string {
    return keyOf(this.spec, texts)
  }
}

/** Whether a value that stays as it is would be left out of the log. */
export function isExternal(spec: TableSpec, column: number, text: string | null): boolean {
  return text !== null && text.length >= EXTERNAL_LENGTH && spec.columns[column]!.external
}
