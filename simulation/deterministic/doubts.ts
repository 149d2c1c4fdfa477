import type { TableSpec } from './schema.js'

/** What the server knows of how its tables are published and read. */
export interface Publishing {
  readonly published: ReadonlyMap<number, number>
  /** When a table was taken out or put in last, by its id. */
  readonly publishedMs: ReadonlyMap<number, number>
  /** When a table was last begun to be read anew, and everything. */
  readonly tableReadMs: number
  readonly slotMadeMs: number
}

/**
 * Tables that the stream may have said nothing of: until that is found out, memory can't know better, and what it shows of them is held against
 * nothing but the bound on its age.
 */
export class Doubts {
  readonly #since = new Map<number, number>()
  readonly #server: Publishing

  constructor(server: Publishing) {
    this.#server = server
  }

  begin({ oid }: Pick<TableSpec, 'oid'>, nowMs: number): void {
    if (!this.#since.has(oid)) this.#since.set(oid, nowMs)
  }

  has({ oid }: TableSpec): boolean {
    return this.#since.has(oid)
  }

  /** When it began; undefined without one. */
  sinceMs({ oid }: TableSpec): number | undefined {
    return this.#since.get(oid)
  }

  /** One table, or (undefined) everything, is read anew in memory. */
  readAnew(name: string | undefined, tables: readonly TableSpec[]): void {
    const { published, publishedMs, tableReadMs, slotMadeMs } = this.#server
    for (const each of tables) {
      if (name !== undefined && `public.${each.name}` !== name && each.name !== name) continue
      const readMs = name === undefined ? slotMadeMs : tableReadMs
      if (published.has(each.oid) && readMs >= (publishedMs.get(each.oid) ?? 0)) this.#since.delete(each.oid)
    }
  }
}
