import type { TextRow } from '../../../src/runtime.js'
import { lostError } from '../../../src/wire/connect-errors.js'
import { Backend } from './backend.js'
import { Link } from './network.js'
import { type ScriptedServer, SLOW_STATEMENT_MS } from './server.js'
import { FatalServerError, ServerError } from './server-error.js'
import { type Answer, type Parameters, UnknownStatementError } from './statements-types.js'

/** How often who waits for a lock looks whether it is free. */
const LOCK_POLL_MS = 3

/** When TCP itself gives a vanished peer up: ten seconds, and nine probes 75 seconds apart, as Linux does by default. */
const KEEP_ALIVE_MS = 685_000

/** Something that was asked: what settles it, and what the server does about it. */
interface Request {
  readonly work: (backend: Backend) => unknown
  readonly settle: (result: unknown, error: Error | null) => void
}

/** Both ends of one session, and the network between them. Requests are answered one after another. */
export class ClientSession {
  readonly server: ScriptedServer
  readonly backend: Backend
  /** To the server, and from it. */
  readonly up: Link
  readonly down: Link
  /** Resolves with why it was lost; with undefined if it was closed by the client. */
  readonly ended: Promise<Error | undefined>
  /** Streams, so that requests are not read. */
  onLost: () => void = () => undefined
  #resolveEnded!: (reason: Error | undefined) => void
  readonly #requests: Request[] = []
  readonly #unsettled = new Set<Request>()
  /** Whether it carries a stream. */
  isStreaming = false
  /** Answers that have come: what is counted in bytes elsewhere. */
  received = 0
  #isOver = false
  #isBusy = false
  #closing: Promise<void> | undefined

  constructor(server: ScriptedServer) {
    this.server = server
    this.up = server.link()
    this.down = server.link()
    this.backend = new Backend(server)
    this.backend.onTerminate = () =>
      this.endByServer(new FatalServerError('57P01', 'terminating connection due to administrator command'))
    this.ended = new Promise(resolve => {
      this.#resolveEnded = resolve
    })
    server.sessions.add(this)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** What `work` gives on the server; asked again as long as that is undefined. */
  request<T>(work: (backend: Backend) => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const request: Request = {
        work,
        settle: (result, error) => {
          this.#unsettled.delete(request)
          if (error === null) resolve(result as T)
          else reject(error)
        },
      }
      this.#unsettled.add(request)
      if (this.#isOver) request.settle(undefined, lostError(new Error('Connection terminated unexpectedly')))
      else
        this.up.send(() => {
          this.#requests.push(request)
          this.#next()
        })
    })
  }

  query(sql: string, parameters: Parameters = []): Promise<TextRow[]> {
    const { server } = this
    return this.request(backend => {
      const answer = this.#answer(sql, backend, parameters)
      if (answer !== undefined) server.trace.event(server.scheduler.nowMs, 'answered', () => sql.slice(0, 60))
      return answer
    })
  }

  #answer(sql: string, backend: Backend, parameters: Parameters): Answer {
    const { statement, match } = this.server.recogniser.recognise(sql)
    this.server.faults.beforeStatement(statement.name)
    const answer = statement.answer(backend, match, parameters)
    if (answer !== undefined && statement.name.startsWith('fill by key')) this.server.onFill(match[2]!)
    return answer
  }

  #next(): void {
    if (this.#isBusy) return
    const request = this.#requests.shift()
    if (request === undefined) return
    this.#isBusy = true
    const { faults, scheduler } = this.server
    const longerMs = faults.delayMs('a statement takes long', 0.01, SLOW_STATEMENT_MS)
    if (longerMs === 0) this.#try(request)
    else {
      this.backend.waits = 'IO'
      scheduler.after(longerMs, () => this.#try(request))
    }
  }

  #try(request: Request): void {
    if (this.backend.isOver) return
    let result: unknown
    try {
      result = request.work(this.backend)
      if (result === undefined) {
        this.backend.waits = 'Lock'
        this.server.scheduler.after(LOCK_POLL_MS, () => this.#try(request))
        return
      }
    } catch (error) {
      this.#failed(request, error)
      return
    }
    this.#rest()
    this.#answered(() => request.settle(result, null))
    this.#next()
  }

  #failed(request: Request, error: unknown): void {
    if (!(error instanceof ServerError)) {
      // Nobody has taught the scripted server this, or it is itself wrong: that is no answer, but the end of the run.
      this.server.fail(error instanceof Error ? error : new UnknownStatementError(String(error)))
      return
    }
    this.#rest()
    if (error instanceof FatalServerError) this.endByServer(error)
    else {
      this.#answered(() => request.settle(undefined, error))
      this.#next()
    }
  }

  #rest(): void {
    this.#isBusy = false
    this.backend.waits = 'Client'
  }

  #answered(arrive: () => void): void {
    this.down.send(() => {
      this.received++
      arrive()
    })
  }

  /** The server ends the session; what was sent before arrives before. */
  endByServer(reason: Error): void {
    this.backend.leave()
    this.down.send(() => this.lose(reason))
  }

  /** The connection breaks: the client notices now, the server as soon as `lingersMs` later. */
  lose(reason: Error, lingersMs = 0): void {
    if (this.#isOver) return
    this.#over(lostError(reason))
    if (lingersMs === 0) this.backend.leave()
    else this.server.scheduler.after(lingersMs, () => this.backend.leave())
  }

  /** The peer has vanished, and nobody says so. The server gives the session up after a while. */
  vanish(serverNoticesMs: number): void {
    this.up.cut()
    this.down.cut()
    this.server.scheduler.after(serverNoticesMs, () => this.backend.leave())
    this.server.scheduler.after(KEEP_ALIVE_MS, () => this.lose(new Error('read ETIMEDOUT')))
  }

  close(): Promise<void> {
    if (this.#closing === undefined && this.up.isDead && this.#unsettled.size > 0 && !this.#isOver)
      this.server.faults.tally('a vanished session is given up')
    this.#closing ??= new Promise(resolve => {
      if (this.#isOver) {
        resolve()
        return
      }
      // A goodbye that is not answered is not waited for.
      const cancel = this.server.scheduler.after(2_000, () => this.#bye(resolve))
      this.up.send(() => {
        this.backend.leave()
        this.down.send(() => {
          cancel()
          this.#bye(resolve)
        })
      })
    })
    return this.#closing
  }

  #bye(resolve: () => void): void {
    this.#over(undefined)
    this.backend.leave()
    resolve()
  }

  #over(reason: Error | undefined): void {
    if (this.#isOver) return
    this.#isOver = true
    this.up.cut()
    this.down.cut()
    this.server.sessions.delete(this)
    this.onLost()
    const error = reason ?? lostError(new Error('Connection terminated'))
    for (const request of this.#unsettled) request.settle(undefined, error)
    this.#resolveEnded(reason)
  }
}
