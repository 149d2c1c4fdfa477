import type { LogPosition } from '../freshness/token.js'
import type { Generation } from './generation.js'

/** Where the generation is now. */
export function positionIn({ incarnation, store }: Generation): LogPosition {
  const { systemId, timeline } = incarnation
  return { systemId, timeline, lsn: store.position }
}

/**
 * Whether commits that the old generation has shown may not be in the new one, which has been proven. Within one history that can't be: a proof has come as
 * far as the server's log, and that further than any stream of it. A log that ends earlier is that of a server that was put back.
 */
export function isOtherHistory(old: Generation, proven: Generation): boolean {
  const [a, b] = [old.incarnation, proven.incarnation]
  return a.systemId !== b.systemId || a.timeline !== b.timeline || proven.store.position < old.store.position
}
