import { keyOf, type TableSpec, type Texts } from '../schema.js'
import type { Position } from './log.js'
import type { Change } from './transaction.js'

interface Version {
  /** Where the commit ends that made it so. */
  readonly from: Position
  readonly xid: number
  /** Null: there is no such row. */
  readonly texts: Texts | null
}

/**
 * What is true: each row's history by commits, in the order of the log. No snapshot, stream or cache has a part in it: it is written at each
 * commit record, from what the transaction did.
 */
export class Truth {
  readonly #tables = new Map<number, Map<string, Version[]>>()
  /** Ends of commits, in order. */
  readonly #commits: Position[] = []
  /** Of each table, the ends of those that have changed it. */
  readonly #touched = new Map<number, Position[]>()
  /** How many commits a reader may be behind before what it reads is not known any more. */
  #forgotten: Position = 0

  constructor(specs: readonly TableSpec[]) {
    for (const { oid } of specs) {
      this.#tables.set(oid, new Map())
      this.#touched.set(oid, [])
    }
  }

  /** A transaction is committed: its record ends at `end`. */
  commit(end: Position, xid: number, changes: readonly Change[]): void {
    this.#commits.push(end)
    for (const change of changes) {
      const { spec } = change
      if (spec === null) continue
      const touched = this.#touched.get(spec.oid)!
      if (touched.at(-1) !== end) touched.push(end)
      if (change.kind === 'truncate') {
        for (const [key, versions] of this.#tables.get(spec.oid)!)
          if (versions.at(-1)!.texts !== null) this.#note(spec, key, { from: end, xid, texts: null })
        continue
      }
      if (change.old !== null) this.#note(spec, keyOf(spec, change.old), { from: end, xid, texts: null })
      if (change.new !== null)
        this.#note(spec, keyOf(spec, change.new), { from: end, xid, texts: change.new })
    }
  }

  #note({ oid }: TableSpec, key: string, version: Version): void {
    const table = this.#tables.get(oid)!
    const versions = table.get(key)
    if (versions === undefined) table.set(key, [version])
    else {
      // What the commit made of it at last.
      if (versions.at(-1)!.from === version.from) versions.pop()
      versions.push(version)
    }
  }

  /** The row as of the commits up to `at`; null if there is none. */
  row({ oid }: TableSpec, key: string, at: Position): Texts | null {
    return this.version(oid, key, at)?.texts ?? null
  }

  /** What wrote the row that is there at `at`. */
  version(oid: number, key: string, at: Position): Version | undefined {
    const versions = this.#tables.get(oid)!.get(key)
    if (versions === undefined) return undefined
    for (let i = versions.length - 1; i >= 0; i--) if (versions[i]!.from <= at) return versions[i]
    return undefined
  }

  /** All rows as of the commits up to `at`. */
  *rows({ oid }: TableSpec, at: Position): IterableIterator<[key: string, texts: Texts, xid: number]> {
    for (const key of this.#tables.get(oid)!.keys()) {
      const version = this.version(oid, key, at)
      if (version !== undefined && version.texts !== null) yield [key, version.texts, version.xid]
    }
  }

  /** Every key that a row ever had. */
  keys({ oid }: TableSpec): string[] {
    return [...this.#tables.get(oid)!.keys()]
  }

  /** Between two positions, both included, the ends of commits, and the first position itself. */
  turns(from: Position, to: Position): Position[] {
    return [from, ...this.#commits.filter(end => end > from && end <= to)]
  }

  /** How many commits between the two positions, neither included, have changed the table. */
  touching({ oid }: TableSpec, after: Position, before: Position): number {
    const ends = this.#touched.get(oid)!
    let count = 0
    for (let i = ends.length - 1; i >= 0 && ends[i]! > after; i--) if (ends[i]! < before) count++
    return count
  }

  get newest(): Position {
    return this.#commits.at(-1) ?? 0
  }

  /** No read is about an earlier position any more. */
  forgetBefore(position: Position): void {
    if (position <= this.#forgotten) return
    this.#forgotten = position
    const kept = this.#commits.findIndex(end => end >= position)
    this.#commits.splice(0, kept < 0 ? Math.max(0, this.#commits.length - 1) : kept)
    for (const table of this.#tables.values())
      for (const [key, versions] of table) {
        let first = versions.length - 1
        while (first > 0 && versions[first]!.from > position) first--
        if (first > 0) versions.splice(0, first)
        if (versions.length === 1 && versions[0]!.texts === null && versions[0]!.from <= position)
          table.delete(key)
      }
  }

  /** The same history up to `position`: what a server goes on with that has lost the rest. */
  until(position: Position, specs: readonly TableSpec[]): Truth {
    const copy = new Truth(specs)
    copy.#forgotten = this.#forgotten
    copy.#commits.push(...this.#commits.filter(end => end <= position))
    for (const [oid, ends] of this.#touched)
      copy.#touched.set(
        oid,
        ends.filter(end => end <= position),
      )
    for (const [oid, table] of this.#tables)
      for (const [key, versions] of table) {
        const kept = versions.filter(({ from }) => from <= position)
        if (kept.length > 0) copy.#tables.get(oid)!.set(key, kept)
      }
    return copy
  }
}
