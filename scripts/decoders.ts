/**
 * The output plugins wal2json and decoderbufs, for Postgres 15.
 *
 * npm has no build of them; Debian's load into npm's server. Looked for in the cache folder of the checkout, then where
 * Debian installs them, and else downloaded from Debian and unpacked into the cache folder: no root, nothing installed.
 *
 *     tsx scripts/decoders.ts     makes sure they are there; with CI=true their absence is an error
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { reasonOf, unpackFromDebian } from './debian.js'

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

const cacheFolder = fileURLToPath(new URL('../.cache/decoders', import.meta.url))

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
    await unpackFromDebian({
      packages: PACKAGES,
      dependencies: false,
      folder: cacheFolder,
      isWhole: folder => unpackedIn(folder) !== undefined,
    })
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

async function main(): Promise<void> {
  const decoders = await findDecoders()
  if (!('missing' in decoders)) return console.log(`wal2json and decoderbufs: ${decoders.plugins}`)
  console.log(`wal2json and decoderbufs are skipped, because ${decoders.missing}`)
  if (process.env['CI'] === 'true') process.exitCode = 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
