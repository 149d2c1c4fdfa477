import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readableCopy } from './readable-copy.js'

let folder: string
let source: string
let target: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'walcache-copy-'))
  source = join(folder, 'source')
  target = join(folder, 'copy')
  mkdirSync(join(source, 'bin'), { recursive: true, mode: 0o700 })
  writeFileSync(join(source, 'bin/program'), 'program', { mode: 0o700 })
  writeFileSync(join(source, 'data'), 'data', { mode: 0o600 })
  symlinkSync('data', join(source, 'link'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)
const leftOver = (): string[] => readdirSync(folder).filter(name => name.includes('.partial-'))

test('a copy holds all of the source, for everybody to read', () => {
  expect(readableCopy(source, target)).toBe(target)
  expect(readFileSync(join(target, 'bin/program'), 'utf8')).toBe('program')
  expect(readlinkSync(join(target, 'link'))).toBe('data')
  expect([target, join(target, 'bin'), join(target, 'bin/program')].map(mode)).toEqual(['755', '755', '755'])
  expect(mode(join(target, 'data'))).toBe('644')
  expect(leftOver()).toEqual([])
})

test('a complete copy is used as it is', () => {
  readableCopy(source, target)
  const { ino } = statSync(target)
  readableCopy(source, target)
  expect(statSync(target).ino).toBe(ino)
})

test('a copy from which something is missing is made anew', () => {
  readableCopy(source, target)
  rmSync(join(target, 'bin/program'))
  readableCopy(source, target)
  expect(readFileSync(join(target, 'bin/program'), 'utf8')).toBe('program')

  writeFileSync(join(target, 'data'), 'd')
  readableCopy(source, target)
  expect(readFileSync(join(target, 'data'), 'utf8')).toBe('data')
  expect(leftOver()).toEqual([])
})

test('a copy that a process left half-made is not met', () => {
  mkdirSync(`${target}.partial-killed`)
  readableCopy(source, target)
  expect(readFileSync(join(target, 'data'), 'utf8')).toBe('data')
})

test('a folder that others may write is refused', () => {
  readableCopy(source, target)
  chmodSync(target, 0o777)
  expect(() => readableCopy(source, target)).toThrow('is not a folder that only uid')
})

test('a symbolic link in the place of the copy is refused', () => {
  symlinkSync(source, target)
  expect(() => readableCopy(source, target)).toThrow('is not a folder that only uid')
})

// To give a folder away takes root.
test.each(process.getuid?.() === 0 ? ['root'] : [])("another user's folder is refused by %s", () => {
  readableCopy(source, target)
  chownSync(target, 65534, 65534)
  expect(() => readableCopy(source, target)).toThrow('is not a folder that only uid')
})
