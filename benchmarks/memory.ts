import { type Benchmark, ROWS } from './support/benchmark.js'
import { compared, holdInTurns, measuredOf, pauses, throughput, WALCACHE } from './support/holders.js'
import { figuresOf } from './support/rounds.js'

const ROUNDS = 3

export const memory: Benchmark = {
  name: 'memory',
  question: 'what does a row take, and how long does the collector stop the process for it?',
  floor:
    'a Map of objects kept true by pg-logical-replication. Rows count after a full collection, above a table without rows; ' +
    'then half of them are updated at full speed',
  async run(options) {
    const rows = options.rows ?? ROWS
    const held = await holdInTurns(options, rows, options.rounds ?? ROUNDS, 'many')
    const used = measuredOf(held, (result, empty) => (result.usedBytes - empty.usedBytes) / rows)
    const resident = measuredOf(held, (result, empty) => (result.residentBytes - empty.residentBytes) / rows)
    const counted = measuredOf(held, ({ countedBytes }) => countedBytes / rows)
    return [
      ...compared('heap and buffers a row', used, 'bytes', '<= 100 bytes'),
      ...compared('resident memory a row', resident, 'bytes'),
      ...figuresOf(counted, { unit: 'bytes', better: 'less' }, [{ what: WALCACHE }]).map(figure => ({
        ...figure,
        what: `${figure.what}: a row, by its own count`,
      })),
      ...pauses(held),
      ...throughput(held),
    ]
  },
}
