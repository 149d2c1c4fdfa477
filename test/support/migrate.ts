/** Brings a database to the demo schema: runs the files of `migrations/` that it has not had yet. */
import { join } from 'node:path'
import { runner } from 'node-pg-migrate'

const folder = join(import.meta.dirname, '../../migrations')

export async function migrate(url: string): Promise<void> {
  await runner({
    databaseUrl: url,
    dir: folder,
    direction: 'up',
    migrationsTable: 'schema_migrations',
    log: () => undefined,
  })
}
