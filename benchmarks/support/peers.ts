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
  all(...parameters: unknown[]): unknown[]
  run(...parameters: unknown[]): unknown
}

/** As much of autocannon as is used here. */
export type Autocannon = (options: {
  readonly url: string
  readonly connections: number
  /** Seconds. */
  readonly duration: number
  readonly workers: number
  readonly requests: readonly { readonly method: 'GET'; readonly path: string }[]
}) => Promise<AutocannonResult>

export interface AutocannonResult {
  /** A second. */
  readonly requests: { readonly average: number }
  /** Milliseconds. */
  readonly latency: { readonly p99: number }
  readonly non2xx: number
  readonly errors: number
}

const folder = join(import.meta.dirname, '..')
const require = createRequire(join(folder, 'package.json'))

/** An in-memory database of better-sqlite3. */
export function openSqlite(progress: (text: string) => void): SqliteDatabase {
  installPeers(progress)
  const Database = require('better-sqlite3') as new (path: string) => SqliteDatabase
  return new Database(':memory:')
}

/** The load generator, which `installPeers` has made sure of. */
export function loadAutocannon(): Autocannon {
  return require('autocannon') as Autocannon
}

/** Installs them all, unless they are there. */
export function installPeers(progress: (text: string) => void): void {
  if (!['better-sqlite3', 'autocannon'].every(isInstalled)) install(progress)
}

function isInstalled(name: string): boolean {
  return existsSync(join(folder, 'node_modules', name))
}

function install(progress: (text: string) => void): void {
  progress('installing what to measure against (once; it may have to be compiled, which takes some minutes)')
  const { status } = spawnSync('npm', ['ci'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`npm ci in ${folder} failed with ${status}.`)
}
