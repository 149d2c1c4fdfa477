import { OptionError } from '../errors.js'
import { checkOptions, READ_OPTIONS } from './check-read.js'
import type { ReadOptions, Table } from './types.js'

/** Where a loader's rows are found in memory. */
export interface CachedOptions<Id, Row> extends ReadOptions {
  readonly table: Pick<Table<Row>, 'findUniqueOr'>
  /** The key's property whose value the loader takes; or what makes the key's properties of it. */
  readonly key: (keyof Row & string) | ((id: Id) => Partial<Row>)
}

const OPTIONS: ReadonlySet<string> = new Set(['table', 'key', 'absent', ...READ_OPTIONS])

/** What a loader gave, whatever it is. */
class Loaded<T> {
  constructor(readonly value: T) {}
}

/**
 * `loader`, answered from memory where that proves the answer, else by the loader itself: memory too old or not loaded, a key that only PostgreSQL
 * can compare. Within `cache.run` it sees the request's commit. Rows from memory are frozen; for a row that is known not to exist there is null, or
 * what `absent` gives (or throws).
 *
 * @throws {OptionError} The function rejects with what the loader rejects with, with a KeyError for what can't be a key, and as `findUnique` does
 * where the options say 'throw'.
 */
export function cached<Id, Row extends object>(
  loader: (id: Id) => Promise<Row | null>,
  options: CachedOptions<Id, Row>,
): (id: Id) => Promise<Row | null>
export function cached<Id, Row extends object, Absent>(
  loader: (id: Id) => Promise<Row | Absent>,
  options: CachedOptions<Id, Row> & { readonly absent: (id: Id) => Absent },
): (id: Id) => Promise<Row | Absent>
export function cached<Id, Row extends object, Absent>(
  loader: (id: Id) => Promise<Row | Absent>,
  options: CachedOptions<Id, Row> & { readonly absent?: (id: Id) => Absent },
): (id: Id) => Promise<Row | Absent | null> {
  checkOptions('cached', options, OPTIONS)
  const { table, key, absent, ...reads } = options
  if (typeof loader !== 'function') throw new OptionError('loader', 'give a function that takes a key.')
  const keyOf =
    typeof key === 'function' ? key : (id: Id): Partial<Row> => ({ [key]: id }) as unknown as Partial<Row>
  return async id => {
    const found = await table.findUniqueOr(
      { ...reads, where: keyOf(id) },
      async () => new Loaded(await loader(id)),
    )
    if (found instanceof Loaded) return found.value
    if (found !== null) return found
    return absent === undefined ? null : absent(id)
  }
}
