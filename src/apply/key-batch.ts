import type { Xid8 } from '../change/xid.js'
import type { PackedRow } from '../store/packed-row.js'
import type { CommitLog, LogEntry } from './commit-log.js'
import { ASK_AGAIN, FillBatch, type Kept, type Merged } from './fill-batch.js'
import { mergeCommits } from './fill-image.js'
import { keysSql, type Statement } from './fill-sql.js'
import type { WantedKey } from './wanted.js'

/** Keys that one query asks for. */
const KEYS_MAX = 500

/** Keys that one query asks for. */
export class KeyBatch extends FillBatch<WantedKey> {
  /** All that was asked for, also what is answered by now. */
  readonly #asked = new Set<string>()

  override add(wanted: WantedKey): void {
    super.add(wanted)
    this.#asked.add(wanted.id)
  }

  get isFull(): boolean {
    return this.wanted.size >= KEYS_MAX
  }

  statement(): Statement {
    const { mapping, table } = this.table
    return keysSql(
      mapping,
      table.format,
      [...this.wanted.values()].map(({ key }) => key),
    )
  }

  merge(entries: readonly LogEntry[]): (id: string) => Merged {
    const image = new Map<string, PackedRow | null>()
    for (const id of this.#asked) image.set(id, this.reply!.rows.get(id)?.row ?? null)
    const merged = mergeCommits(image, this.table.table, entries, entry => this.sees(entry))
    return id => {
      const state = merged.get(id)
      if (state === undefined) return ASK_AGAIN
      return state.kind === 'known' ? { kind: 'known', rows: state.row === null ? [] : [state.row] } : state
    }
  }

  isFast({ id }: WantedKey, horizon: Xid8): boolean {
    const found = this.reply!.rows.get(id)
    return found !== undefined && found.xmin < horizon
  }

  isPending({ key }: WantedKey, _: readonly PackedRow[], log: CommitLog): boolean {
    return log.pendingTouches(this.table.table, key)
  }

  install({ key }: WantedKey, rows: readonly PackedRow[]): Kept | null {
    const residency = this.table.table.residency!
    const since = residency.sameSince(key)
    const installed = residency.installer.install(key, rows[0] ?? null)
    if (installed === 'pending') return null
    // Memory may have got it in another way meanwhile.
    const known = installed === 'known' ? residency.known(key) : rows[0]
    return { rows: known == null ? [] : [known], since }
  }

  passOn({ key }: WantedKey, rows: readonly PackedRow[]): Kept {
    return { rows, since: this.table.table.residency!.sameSince(key) }
  }
}
