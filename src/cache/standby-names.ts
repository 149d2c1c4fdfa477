import type { SetupProblem } from '../errors.js'
import { APPLICATION_NAME } from './options.js'

/** Commits would wait for this process, and its memory would count as a copy that survives the server. */
export const synchronousStandby: SetupProblem = {
  kind: 'synchronous-standby',
  message:
    'synchronous_standby_names would make this cache a synchronous standby: commits would wait for it, though it keeps nothing on disk. ' +
    `Name the real standbys there, in place of "*" or "${APPLICATION_NAME}".`,
}

/** Whether these `synchronous_standby_names` name our sessions, be it as the last choice: `*`, `ANY 1 (a, walcache)`. */
export function namesUs(synchronousStandbyNames: string): boolean {
  const names = synchronousStandbyNames.split(/[\s,()"]+/)
  return names.some(name => name === '*' || name.toLowerCase() === APPLICATION_NAME)
}
