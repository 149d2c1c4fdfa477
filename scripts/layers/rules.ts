/** Which folder of src may import which. A name is a folder of src, or a file of src without its extension. */

const ALL_OF = {
  0: ['change', 'errors', 'observe', 'runtime', 'sql'],
  1: ['wire', 'decode', 'mapping', 'store'],
  2: ['source', 'apply', 'freshness'],
  3: ['query', 'feed', 'audit'],
  4: ['cache'],
} as const

const LEVEL_0 = ALL_OF[0]
const UP_TO_1 = [...LEVEL_0, ...ALL_OF[1]]
const UP_TO_2 = [...UP_TO_1, ...ALL_OF[2]]
const UP_TO_3 = [...UP_TO_2, ...ALL_OF[3]]

function each(names: readonly string[], may: readonly string[]): [string, readonly string[]][] {
  return names.map(name => [name, may])
}

/** What each may import besides its own folder. A name that is not here has no place yet. */
export const MAY_IMPORT: ReadonlyMap<string, readonly string[]> = new Map([
  ...each(ALL_OF[0], LEVEL_0), // each other too; that they form no cycle is checked for all files
  ...each(ALL_OF[1], LEVEL_0),
  ['source', [...LEVEL_0, 'wire', 'decode']],
  ['apply', [...LEVEL_0, 'store', 'mapping']],
  ['freshness', UP_TO_1],
  ...each(ALL_OF[3], UP_TO_2),
  ...each(ALL_OF[4], UP_TO_3),
  ['index', [...UP_TO_3, 'cache']],
  ['integrations', ['index']],
])

/** These hold data and rules about it: no files, sockets, timers or databases. */
export const PURE: readonly string[] = ['change', 'store']

/** The built-in modules that do no I/O. */
export const PURE_BUILTINS: readonly string[] = [
  'node:assert',
  'node:assert/strict',
  'node:buffer',
  'node:diagnostics_channel',
  'node:util',
  'node:util/types',
]

export const DATABASE_PACKAGES: readonly string[] = ['pg', 'pg-logical-replication']

/** Clock, timers and randomness come in here, so that the simulation can supply its own. */
export const RUNTIME = 'runtime'

export const RUNTIME_MODULES: readonly string[] = ['node:timers', 'node:timers/promises', 'node:perf_hooks']

/** Functions of the global scope, or imported under their own name. */
export const RUNTIME_FUNCTIONS: readonly string[] = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'randomBytes',
  'randomInt',
  'randomUUID',
  'getRandomValues',
]

export const RUNTIME_METHODS: readonly { readonly object: string; readonly method: string }[] = [
  { object: 'Date', method: 'now' },
  { object: 'performance', method: 'now' },
  { object: 'process', method: 'hrtime' },
  { object: 'Math', method: 'random' },
  { object: 'AbortSignal', method: 'timeout' },
]
