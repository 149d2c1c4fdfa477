/** Checks that the files of src import only what the layers let them, and reach clock and timers through one door. */
import { builtinModules } from 'node:module'
import { posix } from 'node:path'
import { findCycles } from './cycles.js'
import { readModule, type Use } from './read-module.js'
import { DATABASE_PACKAGES, MAY_IMPORT, PURE, PURE_BUILTINS, RUNTIME, RUNTIME_MODULES } from './rules.js'

export interface Tree {
  /** The text of each TypeScript file of src, by its path in src. */
  readonly files: ReadonlyMap<string, string>
  /** The packages a user of ours has installed: dependencies and peers. */
  readonly packages: readonly string[]
}

/** One line per broken rule, such as "store/slab.ts:3 store may not import wire". */
export function checkLayers({ files, packages }: Tree): string[] {
  const problems: string[] = []
  const edges = new Map<string, string[]>()
  for (const [path, text] of files) {
    const unit = unitOf(path)
    const report = ({ line }: Use, problem: string): number => problems.push(`${path}:${line} ${problem}`)
    if (!MAY_IMPORT.has(unit)) problems.push(`${path}:1 ${unit} has no level: give it one in the layer rules`)

    const module = readModule(path, text)
    edges.set(path, [])
    for (const use of module.imports) {
      if (!use.name.startsWith('.')) {
        const problem = packageProblem(unit, use.name, packages)
        if (problem !== undefined) report(use, problem)
        continue
      }
      const target = posix.join(posix.dirname(path), use.name).replace(/\.js$/, '.ts')
      const problem = fileProblem(unit, use.name, target, files)
      if (problem === undefined) edges.get(path)?.push(target)
      else report(use, problem)
    }
    if (unit === RUNTIME) continue
    for (const use of module.runtimeUses) {
      report(use, `${use.name} is the runtime's: take clock, timers and randomness from ${RUNTIME}.ts`)
    }
  }
  for (const cycle of findCycles(edges)) problems.push(`${cycle[0]}:1 imports itself: ${cycle.join(' -> ')}`)
  return problems.sort()
}

function unitOf(path: string): string {
  return path.split('/')[0]?.replace(/\.ts$/, '') ?? path
}

function fileProblem(
  unit: string,
  specifier: string,
  target: string,
  files: Tree['files'],
): string | undefined {
  if (target.startsWith('..')) return `${specifier} is outside src`
  if (!specifier.endsWith('.js')) return `${specifier} must name a file and end in .js`
  if (!files.has(target)) return `${specifier} does not exist`
  const other = unitOf(target)
  if (other === unit || MAY_IMPORT.get(unit)?.includes(other) !== false) return undefined
  return `${unit} may not import ${other}`
}

function packageProblem(unit: string, specifier: string, packages: readonly string[]): string | undefined {
  if (builtinModules.includes(specifier)) return `write node:${specifier}`
  if (specifier.startsWith('node:')) {
    if (PURE.includes(unit) && !PURE_BUILTINS.includes(specifier)) return `${unit} does no I/O: ${specifier}`
    if (unit !== RUNTIME && RUNTIME_MODULES.includes(specifier)) return `${specifier} is the runtime's`
    return undefined
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  if (!packages.includes(name)) return `${name} is neither a dependency nor a peer of the package`
  if (PURE.includes(unit) && DATABASE_PACKAGES.includes(name)) return `${unit} does no I/O: ${name}`
  return undefined
}
