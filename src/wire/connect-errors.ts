import { asError, ConnectionError, type ConnectionFailure } from '../errors.js'

/** What a failed connection was for: it changes what there is to do about it. */
export interface Attempt {
  readonly purpose: 'query' | 'replication'
  /** Whom the connection was for, if the configuration says. */
  readonly user: string | undefined
}

interface Diagnosis {
  readonly failure: ConnectionFailure
  readonly transient: boolean
  readonly text: string
}

/**
 * Why a connection could not be made, and what to do. The original is the `cause`; its own message is quoted only where
 * PostgreSQL wrote it, since a password function's or a driver's might hold a secret.
 */
export function connectError(thrown: unknown, attempt: Attempt): ConnectionError {
  const cause = asError(thrown)
  if (cause instanceof ConnectionError) return cause
  const { failure, transient, text } = diagnose(cause, attempt)
  const what = attempt.purpose === 'replication' ? 'The replication connection' : 'A connection'
  return new ConnectionError(failure, `${what} to PostgreSQL failed${said(cause)}: ${text}`, transient, {
    cause,
  })
}

/** An established connection ended, or was ended. */
export function lostError(thrown: unknown): ConnectionError {
  const cause = asError(thrown)
  if (cause instanceof ConnectionError) return cause
  const message = `The connection to PostgreSQL was lost${said(cause)}. It is made anew by itself.`
  return new ConnectionError('lost', message, true, { cause })
}

/** A session that does not answer is given up: its peer may have vanished, which TCP tells only after many minutes. */
export function noAnswer(limitMs: number): ConnectionError {
  return lostError(new Error(`no answer within ${limitMs} ms`))
}

/** Whether an error of a query means that its connection is gone, and not that the query was wrong. */
export function meansLost(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  // A server's error that ends the session (57P0x, 08xxx), or an error that is not the server's at all.
  return typeof code !== 'string' || /^(57P0|08)/.test(code) || !isServerError(error)
}

/** Whether PostgreSQL itself sent it. */
export function isServerError(error: unknown): error is Error & { readonly code: string } {
  // A cause, which need not be there.
  if (!(error instanceof Error)) return false
  const { severity, code } = error as { severity?: unknown; code?: unknown }
  return typeof severity === 'string' && typeof code === 'string'
}

function said(cause: Error): string {
  if (isServerError(cause)) return ` (${cause.code}, ${cause.message})`
  const { code } = cause as { code?: unknown }
  return typeof code === 'string' ? ` (${code})` : ''
}

function diagnose(cause: Error, attempt: Attempt): Diagnosis {
  return isServerError(cause) ? diagnoseServerError(cause, attempt) : diagnoseLocalError(cause)
}

const permanent = (failure: ConnectionFailure, text: string): Diagnosis => ({
  failure,
  transient: false,
  text,
})
const transient = (failure: ConnectionFailure, text: string): Diagnosis => ({
  failure,
  transient: true,
  text,
})

const POOLER: Readonly<Record<Attempt['purpose'], string>> = {
  query:
    'this is a connection pooler, which does not carry startup options. Give "pool" a pool that goes to the server itself: walcache takes one client of it, once, and makes its own connections to the same address.',
  replication:
    'this is a connection pooler, which does not carry replication. Give "replication" the URL of the server itself.',
}

function diagnoseServerError({ code, message }: Error & { code: string }, attempt: Attempt): Diagnosis {
  // Poolers name the parameter, or the mode, that they can't carry.
  if (
    /unsupported startup parameter|unsupported replication|replication connections? (is|are) not/i.test(
      message,
    )
  ) {
    return permanent('protocol', POOLER[attempt.purpose])
  }
  switch (code) {
    case '28P01':
      return permanent('authentication', 'the password is wrong.')
    case '28000':
      return /no encryption|SSL off/i.test(message)
        ? permanent('tls', 'the server wants TLS. Set "ssl" in the connection’s configuration.')
        : permanent(
            'authentication',
            'the server does not let this role in: see its pg_hba.conf and the role’s LOGIN.',
          )
    case '3D000':
      return permanent('database', 'there is no such database.')
    case '42501':
      return missingRight(message, attempt)
    case '53300':
      return transient(
        'senders',
        'all its connections are in use. Raise max_wal_senders (one for each process with a cache) or max_connections; the cache tries again.',
      )
    case '57P03':
      return transient('refused', 'the server is starting up or shutting down. The cache tries again.')
    case '0A000':
    case '08P01':
      return permanent('protocol', 'the server does not speak this protocol.')
    case '42704':
      return permanent('protocol', 'the server does not know a setting that PostgreSQL 14 and later know.')
  }
  // Resources, an operator's intervention, the system's own errors.
  if (/^(08|53|57|58)/.test(code)) return transient('lost', 'the cache tries again.')
  return permanent('protocol', 'the server refused the session.')
}

function missingRight(message: string, { user }: Attempt): Diagnosis {
  if (!/replication|wal ?sender/i.test(message)) {
    return permanent('database', 'the role may not connect to this database.')
  }
  const role = user === undefined ? 'the_role' : `"${user.replaceAll('"', '""')}"`
  return permanent(
    'replication-right',
    `the role may not replicate. Let a superuser run: ALTER ROLE ${role} REPLICATION;`,
  )
}

function diagnoseLocalError(cause: Error): Diagnosis {
  const { code } = cause as { code?: unknown }
  const { message } = cause
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return transient('host', 'its host name has no address.')
  if (code === 'ERR_INVALID_URL') return permanent('host', 'its URL is malformed.')
  if (code === 'ECONNREFUSED' || code === 'ENOENT')
    return transient('refused', 'nobody listens at its address.')
  if (code === 'ETIMEDOUT' || code === 'EHOSTUNREACH' || code === 'ENETUNREACH') {
    return transient('host', 'its host did not answer.')
  }
  if (/does not support SSL|establishing an SSL/i.test(message)) {
    return permanent('tls', 'the server offers no TLS, which the configuration demands.')
  }
  if (typeof code === 'string' && /CERT|SELF_SIGNED|UNABLE_TO|^ERR_(TLS|SSL)|EPROTO/.test(code)) {
    return permanent(
      'tls',
      'its certificate or TLS handshake was not accepted. Give "ssl" the authority that signed it.',
    )
  }
  if (/client password must be/i.test(message)) {
    return permanent('authentication', 'the server asks for a password, and the configuration has none.')
  }
  if (/SASL|SCRAM|password/i.test(message)) {
    return permanent('authentication', 'the password exchange failed; the cause has the details.')
  }
  return transient('lost', 'the connection ended before it was ready; the cause has the details.')
}
