/** Other majors of Node, from npm: no version manager, no download site, install scripts off. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const cache = join(import.meta.dirname, '../../.cache/node')

/** Pinned, so that a test does not change because Node was released. */
const VERSIONS = { 22: '22.23.3', 24: '24.21.0' } as const

export type OtherMajor = keyof typeof VERSIONS

/** The binary of a major, downloaded once into the checkout's cache. Rejects with why it can't be had. */
export async function nodeBinary(major: OtherMajor): Promise<string> {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(cache, VERSIONS[major])
  const binary = join(folder, 'node_modules', name, 'bin/node')
  if (existsSync(binary)) return binary
  mkdirSync(cache, { recursive: true })
  // Beside its place, and moved there when whole: another run may be at it, or this one be ended.
  const unfinished = mkdtempSync(join(cache, 'unfinished-'))
  try {
    writeFileSync(join(unfinished, 'package.json'), '{ "private": true }')
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
    await run('npm', [...args, `${name}@${VERSIONS[major]}`], { cwd: unfinished })
    if (!existsSync(binary)) renameSync(unfinished, folder)
  } finally {
    rmSync(unfinished, { recursive: true, force: true })
  }
  return binary
}
