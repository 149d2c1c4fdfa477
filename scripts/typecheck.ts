/** `npm run typecheck`: every tsconfig.json of the repository that has files to check. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')

/** Each with the folder its files are in; TypeScript takes an empty one for a mistake. */
const projects = [
  { config: 'tsconfig.json', folder: 'scripts' },
  // Once more as it is built: without what the tests add to the global scope.
  { config: 'tsconfig.build.json', folder: 'src' },
  ...['legacy', 'legacy-metadata', 'standard'].map(kind => ({
    config: `test/decorators/${kind}/tsconfig.json`,
    folder: `test/decorators/${kind}`,
  })),
  ...[
    'benchmarks/web',
    'examples/web',
    'examples/web/page',
    'test/examples/web',
    'test/integrations/typeorm',
  ].map(folder => ({
    config: `${folder}/tsconfig.json`,
    folder,
  })),
]

for (const { config } of projects.filter(hasSources)) {
  const { status } = spawnSync(process.execPath, [compiler, '--noEmit', '-p', config], {
    cwd: root,
    stdio: 'inherit',
  })
  if (status !== 0) {
    console.error(`typecheck: ${config} has errors`)
    process.exitCode = 1
  }
}

function hasSources({ folder }: { folder: string }): boolean {
  const path = join(root, folder)
  return (
    existsSync(path) &&
    readdirSync(path, { recursive: true, encoding: 'utf8' }).some(file => file.endsWith('.ts'))
  )
}
