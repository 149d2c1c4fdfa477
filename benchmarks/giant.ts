import { type Benchmark, ROWS } from './support/benchmark.js'
import { holdInTurns, pauses, throughput } from './support/holders.js'

const ROUNDS = 3

export const giant: Benchmark = {
  name: 'giant',
  question: 'does one commit that updates every row hold up the event loop?',
  floor:
    'a Map of objects kept true by pg-logical-replication, which shows half a commit while it applies it',
  async run(options) {
    const held = await holdInTurns(options, options.rows ?? ROWS, options.rounds ?? ROUNDS, 'one')
    return [...pauses(held), ...throughput(held)]
  },
}
