/**
 * The output plugins wal2json and decoderbufs, for Postgres 15.
 *
 * npm has no build of them; Debian's load into npm's server. Looked for in the cache folder of the checkout, then where
 * Debian installs them, and else downloaded from Debian and unpacked into the cache folder: no root, nothing installed.
 *
 *     tsx scripts/decoders.ts     makes sure they are there; with CI=true their absence is an error
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

export type DecoderName = 'pgoutput' | 'wal2json' | 'decoderbufs'

export interface Decoders {
  /** The folder with the plugins, for `dynamic_library_path`. */
  readonly plugins: string
  /** Folders with the libraries the plugins need, for the loader. Empty when the system's own are used. */
  readonly libraries: readonly string[]
  /** The folder all of it is in, unless it is the system's. */
  readonly folder: string | undefined
  /** The same files after `folder` was copied to another place. */
  movedTo(folder: string): Decoders
}

/** The only major with builds of them. */
export const DECODERS_MAJOR = 15

const PACKAGES = ['postgresql-15-wal2json', 'postgresql-15-decoderbufs', 'libprotobuf-c1']
const PLUGINS = ['wal2json.so', 'decoderbufs.so']
const PLUGIN_FOLDER = 'usr/lib/postgresql/15/lib'
const DOWNLOAD_MS = 180_000

const cacheFolder = fileURLToPath(new URL('../.cache/decoders', import.meta.url))
const run = promisify(execFile)

let found: Promise<Decoders | { missing: string }> | undefined

/** The plugins, downloaded if need be, or why they are missing. Looks once per process. */
export function findDecoders(): Promise<Decoders | { missing: string }> {
  found ??= look()
  return found
}

async function look(): Promise<Decoders | { missing: string }> {
  if (process.platform !== 'linux') return { missing: `Debian's builds do not run on ${process.platform}` }
  const ready = unpackedIn(cacheFolder) ?? installed()
  if (ready !== undefined) return ready
  try {
    await download()
  } catch (error) {
    return { missing: `the download from Debian failed: ${reasonOf(error)}` }
  }
  return unpackedIn(cacheFolder) ?? { missing: `Debian's packages hold no ${PLUGINS.join(' and ')}` }
}

function hasPlugins(folder: string): boolean {
  return PLUGINS.every(file => existsSync(join(folder, file)))
}

function installed(): Decoders | undefined {
  const plugins = `/${PLUGIN_FOLDER}`
  if (!hasPlugins(plugins)) return undefined
  const decoders: Decoders = { plugins, libraries: [], folder: undefined, movedTo: () => decoders }
  return decoders
}

function unpackedIn(folder: string): Decoders | undefined {
  const plugins = join(folder, PLUGIN_FOLDER)
  const library = join(folder, 'usr/lib')
  if (!hasPlugins(plugins)) return undefined
  // One folder per architecture, such as usr/lib/x86_64-linux-gnu.
  const libraries = readdirSync(library)
    .map(name => join(library, name))
    .filter(path => existsSync(join(path, 'libprotobuf-c.so.1')))
  if (libraries.length === 0) return undefined
  return { plugins, libraries, folder, movedTo: other => unpackedIn(other) ?? missingAfterMove(other) }
}

function missingAfterMove(folder: string): never {
  throw new Error(`${folder} does not hold the plugins`)
}

/** Downloads with an apt state of our own, so that no root is needed and the system's is left alone. */
async function download(): Promise<void> {
  mkdirSync(join(cacheFolder, '..'), { recursive: true })
  const work = mkdtempSync(`${cacheFolder}.partial-`)
  try {
    for (const part of ['state/lists/partial', 'cache/archives/partial', 'packages', 'files']) {
      mkdirSync(join(work, part), { recursive: true })
    }
    const settings = [
      `Dir::State=${work}/state`,
      'Dir::State::status=/var/lib/dpkg/status',
      `Dir::Cache=${work}/cache`,
      'Debug::NoLocking=1',
      'APT::Sandbox::User=',
      'Acquire::Retries=2',
      'Acquire::Languages=none',
    ].flatMap(setting => ['-o', setting])
    const options = { cwd: join(work, 'packages'), timeout: DOWNLOAD_MS }
    await run('apt-get', [...settings, '-qq', 'update'], options)
    await run('apt-get', [...settings, '-qq', 'download', ...PACKAGES], options)
    for (const file of readdirSync(options.cwd)) {
      await run('dpkg', ['-x', join(options.cwd, file), join(work, 'files')], options)
    }
    putInPlace(join(work, 'files'))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function putInPlace(files: string): void {
  if (unpackedIn(files) === undefined) return
  try {
    renameSync(files, cacheFolder)
  } catch (error) {
    // Another process was faster; or an incomplete folder stands there.
    if (unpackedIn(cacheFolder) !== undefined) return
    rmSync(cacheFolder, { recursive: true, force: true })
    renameSync(files, cacheFolder)
    if (unpackedIn(cacheFolder) === undefined) throw error
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { stderr } = error as { stderr?: string }
  return (stderr === undefined || stderr.trim() === '' ? error.message : stderr).trim()
}

async function main(): Promise<void> {
  const decoders = await findDecoders()
  if (!('missing' in decoders)) return console.log(`wal2json and decoderbufs: ${decoders.plugins}`)
  console.log(`wal2json and decoderbufs are skipped, because ${decoders.missing}`)
  if (process.env['CI'] === 'true') process.exitCode = 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
