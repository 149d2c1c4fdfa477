import { FrameQueue } from '../../src/wire/frames.js'
import { replace } from '../replace.js'

/** The bounds of a queue, as long as nobody but us changes them. */
type Bounds = { -readonly [K in 'highWaterBytes' | 'lowWaterBytes']: FrameQueue[K] }

/**
 * From `bytes` waiting frames on, the cache stops reading; from half of that on it goes on. Its own bound is more than the scripted network ever
 * brings at once. Returns what puts it right again.
 */
export function shortQueues(bytes: number): () => void {
  return replace(
    FrameQueue.prototype,
    'pushData',
    original =>
      function (this: FrameQueue, ...frame) {
        shorten(this, bytes)
        original.apply(this, frame)
      },
  )
}

function shorten(bounds: Bounds, bytes: number): void {
  bounds.highWaterBytes = bytes
  bounds.lowWaterBytes = bytes / 2
}
