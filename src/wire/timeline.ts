import { type Lsn, parseLsn } from '../change/lsn.js'

/** Where each earlier timeline ended that the present one goes back to: what was written there after that is lost. */
export type TimelineHistory = ReadonlyMap<number, Lsn>

/**
 * What a timeline's history file says, as `TIMELINE_HISTORY` sends it: a line for each earlier timeline, with its number, the position where
 * it was left, and a reason.
 */
export function parseTimelineHistory(file: string): TimelineHistory {
  const ends = new Map<number, Lsn>()
  for (const line of file.split('\n')) {
    const parts = /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/i.exec(line)
    if (parts !== null) ends.set(Number(parts[1]), parseLsn(parts[2]!))
  }
  return ends
}
