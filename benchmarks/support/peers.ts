/**
 * What walcache is measured against and does not itself depend on: installed into benchmarks/node_modules at first use, since one of
 * them may have to be compiled.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/** As much of better-sqlite3 as is used here. */
export interface SqliteDatabase {
  exec(sql: string): void
  prepare(sql: string): SqliteStatement
  transaction<Args extends unknown[]>(work: (...args: Args) => void): (...args: Args) => void
  close(): void
}

export interface SqliteStatement {
  get(...parameters: unknown[]): unknown
  run(...parameters: unknown[]): unknown
}

const folder = join(import.meta.dirname, '..')
const require = createRequire(join(folder, 'package.json'))

/** An in-memory database of better-sqlite3. */
export function openSqlite(progress: (text: string) => void): SqliteDatabase {
  if (!isInstalled('better-sqlite3')) install(progress)
  const Database = require('better-sqlite3') as new (path: string) => SqliteDatabase
  return new Database(':memory:')
}

function isInstalled(name: string): boolean {
  return existsSync(join(folder, 'node_modules', name))
}

function install(progress: (text: string) => void): void {
  progress('installing what to measure against (once; it may have to be compiled, which takes some minutes)')
  const { status } = spawnSync('npm', ['ci'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`npm ci in ${folder} failed with ${status}.`)
}
