/**
 * Files of Debian packages, for whoever is not root and installs nothing: downloaded with an apt state of our own, and unpacked.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const DOWNLOAD_MS = 240_000
const OUTPUT_BYTES = 8 * 2 ** 20

const run = promisify(execFile)

export interface DebianFiles {
  readonly packages: readonly string[]
  /** Whether to fetch what they depend on too, as far as this machine does not have it. */
  readonly dependencies: boolean
  /** Where the files go. */
  readonly folder: string
  /** Whether a folder holds everything that is wanted. */
  readonly isWhole: (folder: string) => boolean
}

/** Puts the files of Debian packages into a folder, which is whole or not there: another process may do the same at the same time. */
export async function unpackFromDebian({
  packages,
  dependencies,
  folder,
  isWhole,
}: DebianFiles): Promise<void> {
  mkdirSync(join(folder, '..'), { recursive: true })
  const work = mkdtempSync(`${folder}.partial-`)
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
    const options = { cwd: join(work, 'packages'), timeout: DOWNLOAD_MS, maxBuffer: OUTPUT_BYTES }
    const apt = async (...words: readonly string[]): Promise<string> =>
      (await run('apt-get', [...settings, '-qq', ...words], options)).stdout
    await apt('update')
    const wanted = dependencies
      ? packagesToInstall(await apt('--simulate', '--no-install-recommends', 'install', ...packages))
      : packages
    await apt('download', ...wanted)
    for (const file of readdirSync(options.cwd)) {
      await run('dpkg', ['-x', join(options.cwd, file), join(work, 'files')], options)
    }
    putInPlace(join(work, 'files'), folder, isWhole)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** From lines such as "Inst libogg0 (1.3.5-3 Debian:12.14/oldstable [amd64])". */
function packagesToInstall(simulation: string): string[] {
  return [...simulation.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name!)
}

function putInPlace(files: string, folder: string, isWhole: (folder: string) => boolean): void {
  if (!isWhole(files)) return
  try {
    renameSync(files, folder)
  } catch (error) {
    // Another process was faster; or an incomplete folder stands there.
    if (isWhole(folder)) return
    rmSync(folder, { recursive: true, force: true })
    renameSync(files, folder)
    if (!isWhole(folder)) throw error
  }
}

/** What a program that failed had to say, in one line's worth. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { stderr } = error as { stderr?: string }
  return (stderr === undefined || stderr.trim() === '' ? error.message : stderr).trim()
}
