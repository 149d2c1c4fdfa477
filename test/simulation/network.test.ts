import { expect, test } from 'vitest'
import { Scheduler } from '../../simulation/deterministic/scheduler.js'
import { Link } from '../../simulation/deterministic/server/network.js'
import { Trace } from '../../simulation/deterministic/trace.js'
import { Random } from '../../simulation/random.js'

test('what is sent over a connection that freezes and thaws arrives in the order in which it was sent', async () => {
  for (let seed = 0; seed < 50; seed++) {
    const scheduler = new Scheduler(new Random(seed), new Trace())
    const link = new Link(scheduler, new Random(seed + 1), { fromMs: 0.1, toMs: 8 })
    const arrived: number[] = []
    for (let number = 0; number < 20; number++)
      scheduler.after(number, () => link.send(() => arrived.push(number)))
    scheduler.after(4, () => link.freeze())
    scheduler.after(11, () => link.thaw())
    await scheduler.run(() => false)
    expect([seed, arrived]).toEqual([seed, Array.from({ length: 20 }, (_, number) => number)])
  }
})
