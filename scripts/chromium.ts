/**
 * A headless Chromium for the browser test: Debian's, looked for where Debian installs it and in the cache folder of the checkout, and
 * else downloaded and unpacked there: no root, nothing installed.
 *
 *     tsx scripts/chromium.ts     makes sure it is there; with CI=true its absence is an error
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { reasonOf, unpackFromDebian } from './debian.js'

export interface Chromium {
  readonly program: string
  /** Folders with the libraries it needs, for the loader. Empty when the system's own are used. */
  readonly libraries: readonly string[]
}

const PACKAGE = 'chromium-headless-shell'
const PROGRAM = 'usr/lib/chromium/chromium-headless-shell'
const INSTALLED = [`/${PROGRAM}`, '/usr/bin/chromium']

const cacheFolder = fileURLToPath(new URL('../.cache/chromium', import.meta.url))

let found: Promise<Chromium | { missing: string }> | undefined

/** The browser, downloaded if need be, or why it is missing. Looks once per process. */
export function findChromium(): Promise<Chromium | { missing: string }> {
  found ??= look()
  return found
}

async function look(): Promise<Chromium | { missing: string }> {
  if (process.platform !== 'linux') return { missing: `Debian's build does not run on ${process.platform}` }
  const ready = unpackedIn(cacheFolder) ?? installed()
  if (ready !== undefined) return ready
  try {
    await unpackFromDebian({
      packages: [PACKAGE],
      dependencies: true,
      folder: cacheFolder,
      isWhole: folder => unpackedIn(folder) !== undefined,
    })
  } catch (error) {
    return { missing: `the download from Debian failed: ${reasonOf(error)}` }
  }
  return unpackedIn(cacheFolder) ?? { missing: `Debian's packages hold no ${PROGRAM}` }
}

function installed(): Chromium | undefined {
  const program = INSTALLED.find(path => existsSync(path))
  return program === undefined ? undefined : { program, libraries: [] }
}

function unpackedIn(folder: string): Chromium | undefined {
  const program = join(folder, PROGRAM)
  return existsSync(program) ? { program, libraries: libraryFolders(join(folder, 'usr/lib')) } : undefined
}

/** Those that hold shared libraries: one per architecture, and some libraries have a folder of their own in it. */
function libraryFolders(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true })
  const inner = entries
    .filter(entry => entry.isDirectory() && entry.name !== 'chromium')
    .flatMap(entry => libraryFolders(join(folder, entry.name)))
  return entries.some(({ name }) => name.includes('.so')) ? [folder, ...inner] : inner
}

async function main(): Promise<void> {
  const chromium = await findChromium()
  if (!('missing' in chromium)) return console.log(`Chromium: ${chromium.program}`)
  console.log(`The browser test is skipped, because ${chromium.missing}`)
  if (process.env['CI'] === 'true') process.exitCode = 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
