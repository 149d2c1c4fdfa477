import { OptionError } from '../errors.js'
import type { ReadOptions, WaitOptions } from './types.js'

/** What a read takes beside its question. */
export const READ_OPTIONS: ReadonlySet<string> = new Set([
  'maxStaleness',
  'onStale',
  'onUnknown',
  'after',
  'timeoutMs',
  'onTimeout',
  'signal',
])
export const WAIT_OPTIONS: ReadonlySet<string> = new Set(['timeoutMs', 'signal'])

const TIMEOUT_MAX_MS = 24 * 3600 * 1000

/** Refuses options that would have no effect. @throws {OptionError} */
export function checkOptions(method: string, options: unknown, known: ReadonlySet<string>): object {
  if (typeof options !== 'object' || options === null)
    throw new OptionError(method, 'it takes one object of options.')
  for (const option of Object.keys(options))
    if (!known.has(option)) throw new OptionError(option, `there is no such option of ${method} here.`)
  return options
}

/**
 * Refuses values that would quietly mean something else than they say: a policy that is spelled wrong would be another one. (A token is checked
 * where it is read.)
 *
 * @throws {OptionError} @throws the signal's reason, if that has aborted already.
 */
export function checkRead({
  maxStaleness,
  onStale,
  onUnknown,
  timeoutMs,
  onTimeout,
  signal,
}: ReadOptions): void {
  if (maxStaleness !== undefined && !(typeof maxStaleness === 'number' && maxStaleness >= 0))
    throw new OptionError('maxStaleness', 'give milliseconds, from 0 on.')
  if (onStale !== undefined && !isPolicy(onStale) && onStale !== 'serve')
    throw wordsOf('onStale', ", 'serve'")
  if (onUnknown !== undefined && !isPolicy(onUnknown)) throw wordsOf('onUnknown', '')
  if (onTimeout !== undefined && !isPolicy(onTimeout) && onTimeout !== 'serve')
    throw wordsOf('onTimeout', ", 'serve'")
  checkWait({ timeoutMs, signal })
}

/** As `checkRead`, of what only waits. */
export function checkWait({ timeoutMs, signal }: Unchecked<WaitOptions>): void {
  if (
    timeoutMs !== undefined &&
    !(typeof timeoutMs === 'number' && timeoutMs >= 0 && timeoutMs <= TIMEOUT_MAX_MS)
  )
    throw new OptionError('timeoutMs', `give milliseconds, from 0 to ${TIMEOUT_MAX_MS}.`)
  if (signal === undefined) return
  if (!(signal instanceof AbortSignal)) throw new OptionError('signal', 'give an AbortSignal.')
  signal.throwIfAborted()
}

type Unchecked<T> = { readonly [Name in keyof T]?: T[Name] | undefined }

function isPolicy(given: string): boolean {
  return given === 'throw' || given === 'database'
}

function wordsOf(option: string, more: string): OptionError {
  return new OptionError(option, `give one of 'throw', 'database'${more}.`)
}
