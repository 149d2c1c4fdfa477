/** A copy of a folder that every user may read, made once and shared by all later runs. */
import {
  chmodSync,
  constants,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { join } from 'node:path'

/**
 * `target`, holding what `source` holds.
 *
 * A copy is made beside it and renamed into place, so nobody meets half of one and of two processes at once the second
 * finds the first one's. The name is predictable and the folder it is in may be open to all: what stands there already
 * is used only if it is a real folder of ours that nobody else may write, and if nothing is missing from it (a cleaner
 * of temporary files takes single files).
 */
export function readableCopy(source: string, target: string): string {
  if (isOurs(target) && isComplete(source, target)) return target
  const fresh = mkdtempSync(`${target}.partial-`)
  try {
    copyTree(source, fresh)
    chmodSync(fresh, 0o755)
    putInPlace(source, fresh, target)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return target
}

function putInPlace(source: string, fresh: string, target: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      renameSync(fresh, target)
      return
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (attempt === 5 || (code !== 'ENOTEMPTY' && code !== 'EEXIST')) throw error
    }
    // Somebody was faster, or an incomplete copy is in the way.
    if (isOurs(target) && isComplete(source, target)) return
    renameAway(target, `${fresh}-old-${attempt}`)
  }
}

function renameAway(target: string, aside: string): void {
  try {
    renameSync(target, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  rmSync(aside, { recursive: true, force: true })
}

function isOurs(folder: string): boolean {
  const stat = lstatSync(folder, { throwIfNoEntry: false })
  if (stat === undefined) return false
  const uid = process.getuid?.()
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o022) !== 0) {
    throw new Error(
      `${folder} is not a folder that only uid ${uid} may write: remove it, or set TMPDIR elsewhere.`,
    )
  }
  return true
}

function isComplete(source: string, copy: string): boolean {
  return readdirSync(source, { withFileTypes: true }).every(entry => {
    const from = join(source, entry.name)
    const there = lstatSync(join(copy, entry.name), { throwIfNoEntry: false })
    if (there === undefined) return false
    if (entry.isDirectory()) return there.isDirectory() && isComplete(from, join(copy, entry.name))
    if (entry.isSymbolicLink()) return there.isSymbolicLink()
    return there.isFile() && there.size === lstatSync(from).size
  })
}

function copyTree(source: string, target: string): void {
  for (const entry of readdirSync(source, { withFileTypes: true })) {
    const from = join(source, entry.name)
    const to = join(target, entry.name)
    if (entry.isDirectory()) {
      mkdirSync(to)
      copyTree(from, to)
      chmodSync(to, 0o755)
    } else if (entry.isSymbolicLink()) {
      symlinkSync(readlinkSync(from), to)
    } else {
      copyFileSync(from, to, constants.COPYFILE_FICLONE)
      chmodSync(to, (lstatSync(from).mode & 0o100) === 0 ? 0o644 : 0o755)
    }
  }
}
