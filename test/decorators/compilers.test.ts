/**
 * The same entities under every way to compile decorators. vitest runs them in each folder's own entities.test.ts.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { expectedShape } from './shape.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const folderOf = (mode: string): string => join(root, 'test/decorators', mode)
const bin = (name: string): string => join(root, 'node_modules', name)
const COMPILE_LIMIT_MS = 120_000

const modes = ['legacy', 'legacy-metadata', 'standard']

test('all folders hold the same files', () => {
  for (const file of ['entities.ts', 'mistakes.ts', 'main.ts', 'entities.test.ts']) {
    const [first, ...others] = modes.map(mode => readFileSync(join(folderOf(mode), file), 'utf8'))
    for (const other of others) expect(other).toBe(first)
  }
})

describe.each(modes)('%s decorators', mode => {
  test(
    'compile with tsc, which finds the mistakes, and declare the entities',
    async () => {
      const out = mkdtempSync(join(tmpdir(), 'walcache-decorators-'))
      onTestFinished(() => rmSync(out, { recursive: true, force: true }))
      const project = ['-p', join(folderOf(mode), 'tsconfig.json'), '--noEmit', 'false']
      const args = [bin('typescript/bin/tsc'), ...project, '--rootDir', root, '--outDir', out]
      // tsc reports on stdout.
      const failure = await run(process.execPath, args).then(
        () => '',
        (error: { stdout?: string; message: string }) => error.stdout || error.message,
      )
      expect(failure).toBe('')
      writeFileSync(join(out, 'package.json'), '{ "type": "module" }')
      const { stdout } = await run(process.execPath, [join(out, 'test/decorators', mode, 'main.js')])
      expect(JSON.parse(stdout)).toEqual(expectedShape)
    },
    COMPILE_LIMIT_MS,
  )

  test(
    'run under tsx',
    async () => {
      const args = ['--tsconfig', join(folderOf(mode), 'tsconfig.json'), join(folderOf(mode), 'main.ts')]
      const { stdout } = await run(process.execPath, [bin('tsx/dist/cli.mjs'), ...args])
      expect(JSON.parse(stdout)).toEqual(expectedShape)
    },
    COMPILE_LIMIT_MS,
  )
})
