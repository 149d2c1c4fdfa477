import { FILL_RULES, type FillRules } from '../../src/apply/fill-rules.js'

/** The protections of a fill that can be taken away, one at a time, to see that the checks find what goes wrong then. */
export const breaks: Readonly<Record<string, FillRules>> = {
  // Commits that came before the miss, and that no query sees yet, are forgotten.
  'log-from-miss': { ...FILL_RULES, logFrom: 'miss' },
  // What the query saw is kept as it is.
  'no-log': { ...FILL_RULES, merge: false },
  // Rows that a commit brings into a group while it is being read are forgotten.
  'no-enter': { ...FILL_RULES, enter: false },
  // It is kept although the visible state has not come so far.
  'no-wait': { ...FILL_RULES, wait: false },
  // Commits are taken to be seen by their position, not by their transaction.
  lsn: { ...FILL_RULES, sees: ({ position }, { end }) => end <= position },
  'repeatable-read': { ...FILL_RULES, isolation: 'repeatable read' },
}
