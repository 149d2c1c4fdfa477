import type { ChangeBatch, ChangeSink } from '../change/change.js'
import { formatLsn, lsnFromHalves, type Lsn } from '../change/lsn.js'
import type { Decoder } from '../decode/decoder.js'
import { asError, assert, SlotError } from '../errors.js'
import type { Logger } from '../observe.js'
import type { ReplicationConnection, Runtime, StreamHandlers } from '../runtime.js'
import { isServerError } from '../wire/connect-errors.js'
import { FrameQueue } from '../wire/frames.js'
import { endLoadTurn } from '../wire/load-turn.js'
import type { ChangeSource, SourceStart } from './source.js'
import { Standby } from './standby.js'

/** undefined_object: who looks after the server may drop a slot that nobody uses at any moment, also between our looking at it and streaming. */
const UNDEFINED_OBJECT = '42704'

/** A slot that is ready to stream, and what its connection has to know of the server. */
export interface OpenedSlot<Start extends SourceStart> {
  readonly slot: string
  readonly start: Start
  readonly walSenderTimeoutMs: number
  readonly isServerBusy: (signal: AbortSignal) => Promise<boolean>
}

/** What a slot's connection streams, as batches of changes. */
export class SlotStream<B, Start extends SourceStart> implements ChangeSource<B> {
  readonly start: Start
  readonly #replication: ReplicationConnection
  readonly #decoder: Decoder<B>
  readonly #logger: Logger
  readonly #slot: string
  readonly #queue: FrameQueue
  readonly #standby: Standby
  #hasBegun = false
  #isClosed = false
  /** Why nothing more will arrive. */
  #end: Error | undefined
  /** Resolves the reader's wait: frames have arrived, or the end. */
  #wake: (() => void) | undefined

  constructor(
    replication: ReplicationConnection,
    runtime: Runtime,
    { decoder, logger }: { readonly decoder: Decoder<B>; readonly logger: Logger },
    { slot, start, walSenderTimeoutMs, isServerBusy }: OpenedSlot<Start>,
  ) {
    this.start = start
    this.#replication = replication
    this.#decoder = decoder
    this.#logger = logger
    this.#slot = slot
    const queue = new FrameQueue(replication)
    this.#queue = queue
    this.#standby = new Standby({
      connection: replication,
      runtime,
      start: start.lsn,
      walSenderTimeoutMs,
      isBehind: () => queue.length > 0,
      isPaused: () => queue.isPaused,
      isServerBusy,
      onDead: error => this.#lost(error),
    })
    void replication.closed.then(reason => {
      if (reason !== undefined) this.#lost(reason)
    })
  }

  async *batches(signal: AbortSignal): AsyncIterable<ChangeBatch<B>> {
    const onAbort = () => void this.close()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      await this.#begin()
      while (!this.#isClosed) {
        if (this.#queue.length > 0) yield new FrameBatch(this.#queue, this.#decoder)
        else if (this.#end !== undefined) throw this.#end
        else await this.#arrival()
      }
      signal.throwIfAborted()
    } catch (error) {
      // What the closed connection says is of no interest to who had it closed.
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  confirm(lsn: Lsn): void {
    this.#standby.confirm(lsn)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const stopped = this.#standby.stop()
    this.#queue.clear()
    this.#wakeReader()
    await Promise.all([this.#replication.close(), stopped])
  }

  async #begin(): Promise<void> {
    assert(!this.#hasBegun, 'a source streams once')
    this.#hasBegun = true
    this.#decoder.reset()
    // It bounded the slot's creation; the walsender's own look-ups must not fail by it.
    await this.#replication.query('SET lock_timeout = 0')
    await endLoadTurn(this.#replication)
    const handlers: StreamHandlers = {
      onData: (lsnHigh, lsnLow, bytes, start, end) => {
        this.#standby.received(lsnHigh, lsnLow)
        this.#queue.pushData(lsnHigh, lsnLow, bytes, start, end)
        if (this.#wake !== undefined) this.#wakeReader()
      },
      onKeepalive: (lsnHigh, lsnLow, replyRequested) => {
        this.#standby.received(lsnHigh, lsnLow)
        this.#queue.pushKeepalive(lsnHigh, lsnLow)
        if (replyRequested) this.#standby.asked()
        this.#wakeReader()
      },
    }
    const from = formatLsn(this.start.lsn)
    try {
      await this.#replication.start(
        `START_REPLICATION SLOT "${this.#slot}" LOGICAL ${from} (${this.#decoder.startOptions()})`,
        handlers,
      )
    } catch (error) {
      if (!isServerError(error) || error.code !== UNDEFINED_OBJECT) throw error
      const problem = 'it was dropped before it could be streamed from. The cache loads anew by itself.'
      throw new SlotError(this.#slot, problem, true, { cause: error })
    }
    if (!this.#isClosed && this.#end === undefined) this.#standby.run()
    this.#logger.debug(`Streaming from slot "${this.#slot}" at ${from}.`)
  }

  #arrival(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  #wakeReader(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  #lost(error: Error): void {
    if (this.#end !== undefined) return
    this.#end = asError(error)
    void this.#standby.stop()
    this.#wakeReader()
    void this.#replication.close()
  }
}

/** The frames that had arrived when the batch was made. */
class FrameBatch<B> implements ChangeBatch<B> {
  #framesLeft: number

  constructor(
    readonly queue: FrameQueue,
    readonly decoder: Decoder<B>,
  ) {
    this.#framesLeft = queue.length
  }

  // Hot: the loop runs once per frame.
  deliver(sink: ChangeSink<B>, maxChanges: number): boolean {
    const { queue, decoder } = this
    let count = Math.min(maxChanges, this.#framesLeft)
    for (; count > 0 && sink.held !== true && queue.shift(); count--) {
      this.#framesLeft--
      if (queue.isKeepalive) sink.progress(lsnFromHalves(queue.lsnHigh, queue.lsnLow))
      else decoder.decode(queue.lsnHigh, queue.lsnLow, queue.bytes, queue.start, queue.end, sink)
    }
    // The queue is empty before its time once the source is closed.
    return this.#framesLeft > 0 && queue.length > 0
  }
}
