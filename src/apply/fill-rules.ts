import type { LogEntry } from './commit-log.js'
import type { FillReply } from './fill-sql.js'

/**
 * What makes a fill right, each part by itself, so that a test can take one away and see the wrong answers that it prevents. Nothing but such
 * a test gives other rules than these.
 */
export interface FillRules {
  /** Which commits a query may not see: all that no earlier answer has shown to be visible, not just those after it was sent. */
  readonly logFrom: 'confirmed' | 'miss'
  /** Whether commits that it does not see are added to what it saw. */
  readonly merge: boolean
  /** Whether rows that such a commit brought into a group are added to it, too. */
  readonly enter: boolean
  /** Whether the visible state must have come as far as what it saw. */
  readonly wait: boolean
  /** Whether it saw a commit: its snapshot says so; positions do not. */
  readonly sees: (reply: FillReply, entry: LogEntry) => boolean
  readonly isolation: 'read committed' | 'repeatable read'
}

export const FILL_RULES: FillRules = {
  logFrom: 'confirmed',
  merge: true,
  enter: true,
  wait: true,
  sees: ({ snapshot }, { xid }) => snapshot.sees(xid),
  isolation: 'read committed',
}
