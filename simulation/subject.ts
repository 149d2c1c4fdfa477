import pg from 'pg'
import { type View, viewOfRows } from './compare.js'
import { selectAll } from './sql.js'
import type { SimulatedTable } from './tables.js'

/** What is put to the test: something that claims to show the database. */
export interface Subject extends AsyncDisposable {
  /** Resolves when everything that was committed before the call is visible, and told. */
  catchUp(): Promise<void>
  /** Another text when another state may be shown than before, or the same one of another generation. */
  readonly moment: string
  /** The tables as they are now; asked again for each look. */
  readonly now: View
  /** The tables as they are pieced together from what it tells of each change. */
  readonly told: View
  /** The tables as they are now, for as long as it is open. */
  snapshot(): SubjectSnapshot
  /** Whether this error is an honest refusal to answer. */
  refuses(error: unknown): boolean
}

export interface SubjectSnapshot extends Disposable {
  readonly view: View
}

export interface SubjectOptions {
  readonly databaseUrl: string
  readonly tables: readonly SimulatedTable[]
}

/**
 * Postgres itself as the subject: what the tables held at the last `catchUp`. It puts the model to the test, without
 * a cache.
 */
export async function openDatabaseSubject({ databaseUrl, tables }: SubjectOptions): Promise<Subject> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  let view = viewOfRows(() => [])
  let selects = 0
  return {
    async catchUp() {
      view = await selectAll(client, tables)
      selects++
    },
    get moment() {
      return String(selects)
    },
    get now() {
      return view
    },
    get told() {
      return view
    },
    snapshot() {
      return { view, [Symbol.dispose]: () => undefined }
    },
    refuses: () => false,
    [Symbol.asyncDispose]: () => client.end(),
  }
}
