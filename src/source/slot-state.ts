import { type CacheError, ConnectionError } from '../errors.js'
import { type Backoff, backoffMs } from './backoff.js'

/** A lost connection is tried again quickly: most are a restart or a failover. */
const USUAL: Backoff = { firstMs: 100, longestMs: 10_000 }
/** To find out that nobody listens yet costs nobody anything; but whoever has been down for long is not expected any moment. */
const DOWN: Backoff = { firstMs: 100, longestMs: 500 }
const DOWN_ATTEMPTS = 60
/** When the server has no connection left, trying again takes one from somebody who waits as well. */
const CROWDED: Backoff = { firstMs: 2_000, longestMs: 60_000 }

/**
 * The life of the stream, over all its connections.
 *
 *     connecting ─opened─► loading ─loaded─► streaming
 *     connecting ─resumed─► streaming
 *     connecting, loading, streaming ─lost─► waiting ─elapsed─► connecting
 *     any ─fatal─► failed      any ─close─► closed
 *
 * `attempt` counts failures in a row; a stream has to last a while (`settled`) before it counts as a success, since each new
 * attempt costs the database a load.
 */
export type SlotState =
  | { readonly kind: 'connecting' | 'loading' | 'streaming'; readonly attempt: number }
  /** `wasCheap`: what failed was connecting, before anything was loaded. */
  | {
      readonly kind: 'waiting'
      readonly attempt: number
      readonly error: CacheError
      readonly wasCheap: boolean
    }
  | { readonly kind: 'failed'; readonly error: CacheError }
  | { readonly kind: 'closed' }

export type SlotEvent =
  | { readonly kind: 'opened' | 'loaded' | 'resumed' | 'settled' | 'elapsed' | 'close' }
  /** It may work when tried again. */
  | { readonly kind: 'lost'; readonly error: CacheError }
  /** Somebody has to change something first. */
  | { readonly kind: 'fatal'; readonly error: CacheError }

export const initialSlotState: SlotState = { kind: 'connecting', attempt: 0 }

/** The event that an error is: `transient` errors are worth another attempt. */
export function failureEvent(error: CacheError): SlotEvent {
  return { kind: error.transient ? 'lost' : 'fatal', error }
}

export function nextSlotState(state: SlotState, event: SlotEvent): SlotState {
  if (state.kind === 'closed') return state
  if (event.kind === 'close') return { kind: 'closed' }
  if (state.kind === 'failed') return state
  if (event.kind === 'fatal') return { kind: 'failed', error: event.error }
  if (state.kind === 'waiting') {
    return event.kind === 'elapsed' ? { kind: 'connecting', attempt: state.attempt } : state
  }
  if (event.kind === 'lost') {
    const wasCheap = state.kind === 'connecting'
    return { kind: 'waiting', attempt: state.attempt + 1, error: event.error, wasCheap }
  }
  switch (state.kind) {
    case 'connecting':
      if (event.kind === 'resumed') return { ...state, kind: 'streaming' }
      return event.kind === 'opened' ? { ...state, kind: 'loading' } : state
    case 'loading':
      return event.kind === 'loaded' ? { ...state, kind: 'streaming' } : state
    case 'streaming':
      return event.kind === 'settled' ? { ...state, attempt: 0 } : state
  }
}

/** How long to stay in `waiting`. */
export function waitMs(state: SlotState & { kind: 'waiting' }, random: () => number): number {
  return backoffMs(backoffFor(state), state.attempt, random)
}

function backoffFor({ error, attempt, wasCheap }: SlotState & { kind: 'waiting' }): Backoff {
  if (!(error instanceof ConnectionError)) return USUAL
  if (error.failure === 'senders') return CROWDED
  return wasCheap && error.failure === 'refused' && attempt <= DOWN_ATTEMPTS ? DOWN : USUAL
}
