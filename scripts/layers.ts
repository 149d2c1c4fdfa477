/** `npm run layers`: checks the layers of src. Exits with 1 and one line per broken rule. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve, sep } from 'node:path'
import { checkLayers } from './layers/check.js'

const root = resolve(process.argv[2] ?? join(import.meta.dirname, '..'))
const source = join(root, 'src')

const paths = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(path => path.endsWith('.ts'))
const files = new Map(
  paths.map(path => [path.split(sep).join('/'), readFileSync(join(source, path), 'utf8')] as const),
)
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
  string,
  object | undefined
>
const packages = Object.keys({ ...manifest['dependencies'], ...manifest['peerDependencies'] })

const problems = checkLayers({ files, packages })
for (const problem of problems) console.error(`src/${problem}`)
console.log(`layers: ${files.size} files, ${problems.length} problems`)
if (problems.length > 0) process.exitCode = 1
