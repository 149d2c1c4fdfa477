import type { Random } from '../random.js'
import type { Doubts } from './doubts.js'
import type { Faults, TimedFault } from './faults.js'
import type { Oracle } from './oracle.js'
import { type Cell, operationOf, type Pair } from './pairs.js'
import type { Scheduler } from './scheduler.js'
import type { TableSpec } from './schema.js'
import type { ClientSession } from './server/client-session.js'
import type { Position } from './server/log.js'
import { ADMIN_SHUTDOWN, FatalServerError } from './server/server-error.js'
import type { ScriptedServer } from './server/server.js'
import { WriterSession } from './server/writes.js'
import type { Writer } from './writers.js'

export interface DirectorContext {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly server: ScriptedServer
  readonly faults: Faults
  readonly oracle: Oracle
  readonly tables: readonly TableSpec[]
  readonly writers: readonly Writer[]
  readonly doubts: Doubts
  /** Has memory forget all that it may of the tables that are not held whole; how many keys that were. */
  readonly evictAll: () => number
  readonly chosen: readonly TimedFault[]
  /** What the run is to have much of. */
  readonly favours: Pair
  /** Between two faults, at most. */
  readonly pauseMs: number
}

/** How often the favoured fault is aimed at a commit with the favoured operation, and how soon after it then strikes, at most. */
const AIMED_CHANCE = 0.3
const AIMED_MS = 4

/** Another process's walsender. */
const FOREIGN_PID = 99_999

/** Lets things go wrong, at moments that nobody has chosen. */
export class Director {
  readonly #context: DirectorContext
  #isStopped = false
  #restarts = 0
  #lasting = 0
  /** While it is true, commits hang on a standby that is not there. */
  isStandbyMissing = false

  constructor(context: DirectorContext) {
    this.#context = context
    if (context.chosen.length > 0) this.#later()
  }

  /** No more of it; what was begun ends by itself. */
  stop(): void {
    this.#isStopped = true
  }

  /** Whether all that was made wrong for a while has been put right. */
  get isAtRest(): boolean {
    return this.#lasting === 0
  }

  /** A transaction of these operations has committed. If the run favours one of them together with a fault, that may strike before it is shown. */
  committed(operations: ReadonlySet<Cell>): void {
    const { scheduler, random, chosen, favours } = this.#context
    const { fault, operation } = favours
    const aimed = chosen.find(name => name === fault)
    if (aimed === undefined || operation === undefined) return
    if (![...operations].some(cell => operationOf(cell) === operation) || !random.chance(AIMED_CHANCE)) return
    scheduler.after(random.below(AIMED_MS), () => {
      if (!this.#isStopped) this.#strike(aimed)
    })
  }

  #later(): void {
    const { scheduler, random, pauseMs, chosen } = this.#context
    scheduler.after(pauseMs * (random.below(1000) / 1000), () => {
      if (this.#isStopped) return
      this.#strike(random.pick(chosen))
      this.#later()
    })
  }

  #strike(fault: TimedFault): void {
    if (this.#acts[fault]()) this.#context.faults.count(fault)
  }

  /** Whether there was anything to do it to. */
  readonly #acts: Readonly<Record<TimedFault, () => boolean>> = {
    'stream cut': () => this.#toStream(session => session.lose(new Error('read ECONNRESET'))),
    'walsender terminated': () => this.#toStream(session => session.endByServer(shutdown())),
    'stream half-open': () => this.#toStream(session => session.vanish(this.#some(50, 3_000))),
    'stream frozen': () => this.#toStream(session => this.#freeze(session)),
    'session cut': () => this.#toSession(session => session.lose(new Error('read ECONNRESET'))),
    'session half-open': () => this.#toSession(session => session.vanish(this.#some(50, 3_000))),
    'session frozen': () => this.#toSession(session => this.#freeze(session)),
    'all connections cut': () => this.#toAll(session => session.lose(new Error('read ECONNRESET'))),
    'nobody listens': () => this.#down('nobody listens', this.#some(20, 1_500)),
    'immediate crash': () => this.#crash(this.#context.server.model.log.flushed),
    'fast restart': () => {
      this.#context.server.model.flush()
      return this.#crash(this.#context.server.model.log.end)
    },
    failover: () => this.#failover(false),
    'failover with slots': () => this.#failover(true),
    'slot dropped': () => this.#toSlot(slot => void this.#context.server.slots.byName.delete(slot.name)),
    'slot made anew': () =>
      this.#toSlot(slot => {
        slot.confirmed = this.#context.server.model.log.insert
        slot.persisted = slot.confirmed
      }),
    'slot invalidated': () =>
      this.#toSlot(slot => {
        slot.invalidation = 'wal_removed'
      }),
    'slot in use': () =>
      this.#toSlot(slot => {
        slot.activePid = FOREIGN_PID
        this.#afterwards(this.#some(20, 15_000), () => {
          if (slot.activePid === FOREIGN_PID) slot.activePid = null
        })
      }),
    'standby missing': () => this.#standbyMissing(),
    'table altered': () => {
      const { server, random, tables } = this.#context
      server.alterations.set(random.pick(tables).oid, server.newAlteration())
      return true
    },
    'table locked': () => this.#lockTable(),
    'long writer': () => this.#longWriter(),
    'event loop stalls': () => {
      this.#context.scheduler.stall(this.#some(10, 8_000))
      return true
    },
    'clock is set': () => {
      this.#context.scheduler.jumpWall(this.#context.random.between(-86_400_000, 86_400_000))
      return true
    },
    'taken for a standby of ours': () => {
      const { server } = this.#context
      server.countsAsStandby = true
      server.standbyNames = '*'
      this.#afterwards(this.#some(5, 2_000), () => {
        server.countsAsStandby = false
        server.standbyNames = ''
      })
      return true
    },
    'a standby answers': () => {
      const { server } = this.#context
      server.isStandby = true
      this.#afterwards(this.#some(5, 800), () => {
        server.isStandby = false
      })
      return true
    },
    'exported snapshots gone': () => {
      const { exported } = this.#context.server
      const hadAny = exported.size > 0
      exported.clear()
      return hadAny
    },
    'relations announced again': () => this.#toWalsenders(walsender => walsender.announceAgain()),
    'keepalives in a row': () =>
      this.#toWalsenders(walsender => {
        for (let i = 0; i < 20; i++) walsender.keepalive(i % 3 === 0)
      }),
    checkpoint: () => {
      this.#context.server.slots.checkpoint()
      return true
    },
    'table leaves the publication': () => this.#unpublish(),
    'everything is evicted': () => this.#context.evictAll() > 0,
  }

  #some(fromMs: number, toMs: number): number {
    return this.#context.random.between(fromMs, toMs)
  }

  /** What puts right what was made wrong comes also when the faults have stopped. */
  #afterwards(delayMs: number, run: () => void): void {
    this.#lasting++
    this.#context.scheduler.after(delayMs, () => {
      this.#lasting--
      run()
    })
  }

  #toStream(act: (session: ClientSession) => void): boolean {
    const session = [...this.#context.server.sessions].find(({ isStreaming }) => isStreaming)
    if (session !== undefined) act(session)
    return session !== undefined
  }

  #toSession(act: (session: ClientSession) => void): boolean {
    const { random, server } = this.#context
    const sessions = [...server.sessions].filter(({ isStreaming }) => !isStreaming)
    if (sessions.length > 0) act(random.pick(sessions))
    return sessions.length > 0
  }

  #toAll(act: (session: ClientSession) => void): boolean {
    const sessions = [...this.#context.server.sessions]
    for (const session of sessions) act(session)
    return sessions.length > 0
  }

  #toWalsenders(
    act: (walsender: ScriptedServer['walsenders'] extends Set<infer W> ? W : never) => void,
  ): boolean {
    const { walsenders } = this.#context.server
    for (const walsender of walsenders) act(walsender)
    return walsenders.size > 0
  }

  #freeze(session: ClientSession): void {
    session.down.freeze()
    this.#afterwards(this.#some(5, 7_000), () => session.down.thaw())
  }

  /** A durable slot that is ready; whoever streams from it is cut off first. */
  #toSlot(
    act: (slot: ScriptedServer['slots']['byName'] extends Map<string, infer S> ? S : never) => void,
  ): boolean {
    const slot = [...this.#context.server.slots.byName.values()].find(
      each => !each.isTemporary && each.isReady,
    )
    if (slot === undefined) return false
    this.#toStream(session => session.lose(new Error('read ECONNRESET')))
    if (slot.activePid === null) act(slot)
    return true
  }

  #down(why: 'nobody listens' | 'starting up', forMs: number): boolean {
    const { server } = this.#context
    if (server.down !== null) return false
    server.down = why
    this.#toAll(session => session.lose(new Error('read ECONNRESET')))
    this.#afterwards(forMs, () => {
      server.down = null
    })
    return true
  }

  /** The server ends at once, and comes back with what is on its disk. */
  #crash(position: Position, timeline?: number): boolean {
    const { server, writers, oracle } = this.#context
    const { model } = server
    if (!this.#down('starting up', this.#some(5, 1_200))) return false
    const before = model.timeline
    this.#countLosses(position, timeline !== undefined)
    server.slots.restart()
    server.exported.clear()
    model.restart(position, `2026-01-01 00:00:01.${String(++this.#restarts).padStart(6, '0')}+00`, timeline)
    oracle.lostAfter(before, position)
    for (const writer of writers) writer.crashed()
    return true
  }

  #countLosses(position: Position, isFailover: boolean): void {
    const { server, faults, oracle } = this.#context
    const { model, slots } = server
    if ((model.committed.at(-1)?.end ?? 0) > position && !isFailover)
      faults.tally('commits are lost in a crash')
    if ([...slots.byName.values()].some(({ confirmed, persisted }) => confirmed > persisted))
      faults.tally('a slot goes back')
    const { timeline, lsn } = oracle.newest
    if (isFailover && timeline === model.timeline && lsn > position) faults.tally('failover behind memory')
  }

  /** Somebody takes a table out of the publication, and puts it in again, unless the cache has done so meanwhile. */
  #unpublish(): boolean {
    const { server, random, tables, doubts, scheduler } = this.#context
    const spec = random.pick(tables)
    if (!server.unpublish(spec.oid)) return false
    doubts.begin(spec, scheduler.nowMs)
    this.#afterwards(this.#some(5, 3_000), () => {
      if (server.publication !== null && !server.published.has(spec.oid)) server.publish(spec.oid)
    })
    return true
  }

  /** A standby that has received a little less takes over. */
  #failover(withSlots: boolean): boolean {
    const { server, random } = this.#context
    const { model, slots } = server
    const flushed = model.committed.filter(({ end }) => end <= model.log.flushed)
    const at = flushed.at(-1 - random.below(Math.min(4, flushed.length)))
    if (at === undefined || server.down !== null) return false
    if (!withSlots) slots.byName.clear()
    return this.#crash(at.end, model.timeline + 1)
  }

  #standbyMissing(): boolean {
    if (this.isStandbyMissing) return false
    this.isStandbyMissing = true
    this.#afterwards(this.#some(20, 600), () => {
      this.isStandbyMissing = false
    })
    return true
  }

  /** LOCK TABLE ... IN ACCESS EXCLUSIVE MODE. */
  #lockTable(): boolean {
    const { server, random, tables } = this.#context
    const spec = random.pick(tables)
    if (server.model.isUsed(spec, null)) return false
    return this.#transactionFor(this.#some(5, 400), writer => writer.lock(spec))
  }

  #longWriter(): boolean {
    return this.#transactionFor(this.#some(100, 9_000), writer => writer.assignXid())
  }

  #transactionFor(forMs: number, act: (writer: WriterSession) => void): boolean {
    const { model, down } = this.#context.server
    if (down !== null) return false
    const writer = new WriterSession(model)
    act(writer)
    const transaction = writer.release()!
    this.#afterwards(forMs, () => {
      if (model.has(transaction)) model.rollBack(transaction)
    })
    return true
  }
}

function shutdown(): FatalServerError {
  return new FatalServerError(ADMIN_SHUTDOWN, 'terminating connection due to administrator command')
}
