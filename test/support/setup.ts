/** Loaded by every test file: drops the file's databases when it ends. Imports nothing heavy, for the unit tests. */
import { configureGlobal } from 'fast-check'
import { afterAll } from 'vitest'
import { seed } from './seed.js'
import type { TestDatabase } from './servers.js'

configureGlobal({ seed })

afterAll(async () => {
  const { walcacheTestDatabases: opened } = globalThis as { walcacheTestDatabases?: Set<TestDatabase> }
  for (const database of opened ?? []) await database.drop()
})
