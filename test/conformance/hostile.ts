/** The type matrix in a database of which, and for a role of which, every default that shows in texts is another than is wanted. */
import type { Major } from '../support/binaries.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { matrixTables } from './type-list.js'
import { createMatrix, type TypedColumn } from './type-matrix.js'

export const HOSTILE = {
  datestyle: 'German, DMY',
  intervalstyle: 'sql_standard',
  bytea_output: 'escape',
  extra_float_digits: '0',
  timezone: 'Asia/Kolkata',
}

export interface HostileMatrix {
  readonly db: TestDatabase
  /** Connects as the role. */
  readonly url: string
  readonly columns: readonly TypedColumn[]
  /** Databases go with their test file, but roles belong to the server. */
  dropRole(): Promise<void>
}

export async function hostileMatrix(major: Major, seed: number): Promise<HostileMatrix> {
  const db = await testDatabase({ major })
  const columns = await createMatrix(db, matrixTables(seed))
  const role = `hostile_${db.name}`
  const settings = Object.entries(HOSTILE).map(([name, value]) => `set ${name} = '${value}'`)
  await db.query(
    [
      `create role ${role} superuser replication login`,
      ...settings.map(set => `alter database ${db.name} ${set}; alter role ${role} ${set}`),
    ].join(';'),
  )
  const url = new URL(db.url)
  url.username = role
  return {
    db,
    url: url.href,
    columns,
    dropRole: async () => void (await db.query(`drop owned by ${role}; drop role ${role}`)),
  }
}
