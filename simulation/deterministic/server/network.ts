import type { Scheduler } from '../scheduler.js'
import type { Random } from '../../random.js'

export interface Latency {
  readonly fromMs: number
  readonly toMs: number
}

/** One direction of a connection: what is sent arrives later, in the order in which it was sent, or not at all. */
export class Link {
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly latency: Latency
  #newestMs = 0
  readonly #underWay = new Set<() => void>()
  /** Nothing arrives any more, and nobody is told. */
  isDead = false
  #isFrozen = false
  #frozen: (() => void)[] = []

  constructor(scheduler: Scheduler, random: Random, latency: Latency) {
    this.#scheduler = scheduler
    this.#random = random
    this.latency = latency
  }

  send(arrive: () => void): void {
    if (this.isDead) return
    const { fromMs, toMs } = this.latency
    const takesMs = fromMs + (toMs - fromMs) * (this.#random.uint32() / 2 ** 32)
    this.#newestMs = Math.max(this.#newestMs, this.#scheduler.nowMs + takesMs)
    const cancel = this.#scheduler.after(this.#newestMs - this.#scheduler.nowMs, () => {
      this.#underWay.delete(cancel)
      if (this.#isFrozen) this.#frozen.push(arrive)
      else arrive()
    })
    // Of the same moment, the later one must not overtake.
    this.#newestMs += 0.000_01
    this.#underWay.add(cancel)
  }

  /** What is under way stays there until it is thawed. */
  freeze(): void {
    this.#isFrozen = true
  }

  /** What had come as far arrives at once, before what is still under way. */
  thaw(): void {
    this.#isFrozen = false
    for (const arrive of this.#frozen.splice(0)) if (!this.isDead) arrive()
  }

  /** What is under way is lost. */
  cut(): void {
    this.isDead = true
    this.#frozen = []
    for (const cancel of this.#underWay) cancel()
    this.#underWay.clear()
  }
}
