import assert from 'node:assert/strict'
import pg from 'pg'
import { test } from 'vitest'
import type { ConnectionFailure } from '../../src/errors.js'
import { connectError, meansLost } from '../../src/wire/connect-errors.js'

function serverError(code: string, message: string): pg.DatabaseError {
  const error = new pg.DatabaseError(message, message.length, 'error')
  error.severity = 'FATAL'
  error.code = code
  return error
}

const localError = (message: string, code?: string) =>
  Object.assign(new Error(message), code === undefined ? {} : { code })

const attempt = { purpose: 'replication', user: 'web"app' } as const

test.each<[Error, ConnectionFailure, boolean, RegExp]>([
  [
    serverError('28P01', 'password authentication failed for user "a"'),
    'authentication',
    false,
    /password is wrong/,
  ],
  [
    serverError('28000', 'no pg_hba.conf entry for host "::1", user "a", no encryption'),
    'tls',
    false,
    /wants TLS/,
  ],
  [serverError('28000', 'role "a" does not exist'), 'authentication', false, /pg_hba/],
  [serverError('3D000', 'database "x" does not exist'), 'database', false, /no such database/],
  [
    serverError('42501', 'must be superuser or replication role to start walsender'),
    'replication-right',
    false,
    /ALTER ROLE "web""app" REPLICATION;/,
  ],
  [serverError('42501', 'permission denied to start WAL sender'), 'replication-right', false, /ALTER ROLE/],
  [serverError('42501', 'permission denied for database "x"'), 'database', false, /may not connect/],
  [serverError('53300', 'too many clients'), 'senders', true, /max_wal_senders .* max_connections/],
  [serverError('57P03', 'the database system is starting up'), 'refused', true, /starting up/],
  [serverError('57P01', 'terminating connection due to administrator command'), 'lost', true, /tries again/],
  [serverError('0A000', 'unsupported frontend protocol'), 'protocol', false, /protocol/],
  [serverError('08P01', 'unsupported startup parameter: options'), 'protocol', false, /pooler/],
  [localError('getaddrinfo ENOTFOUND nowhere', 'ENOTFOUND'), 'host', true, /host name/],
  [localError('connect ECONNREFUSED 127.0.0.1:1', 'ECONNREFUSED'), 'refused', true, /nobody listens/],
  [localError('no answer within 10 ms', 'ETIMEDOUT'), 'host', true, /did not answer/],
  [localError('The server does not support SSL connections'), 'tls', false, /offers no TLS/],
  [localError('self-signed certificate', 'DEPTH_ZERO_SELF_SIGNED_CERT'), 'tls', false, /certificate/],
  [
    localError('SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'),
    'authentication',
    false,
    /configuration has none/,
  ],
  [localError('Connection terminated unexpectedly'), 'lost', true, /ended before/],
])('%s', (cause, failure, transient, text) => {
  const error = connectError(cause, attempt)
  assert.equal(error.failure, failure)
  assert.equal(error.transient, transient)
  assert.match(error.message, text)
  assert.equal(error.cause, cause)
})

test('a pooler is told by what it was to carry: whoever gave the one address may have given the other', () => {
  const cause = serverError('08P01', 'unsupported startup parameter: options')
  assert.match(connectError(cause, { ...attempt, purpose: 'query' }).message, /Give "pool" a pool/)
  assert.match(
    connectError(cause, { ...attempt, purpose: 'replication' }).message,
    /Give "replication" the URL/,
  )
})

test('what did not come from PostgreSQL is not quoted: it might hold a secret', () => {
  const error = connectError(localError('vault said: hunter2'), attempt)
  assert.doesNotMatch(error.message, /hunter2/)
})

test('an error that ends the session is a loss, and one about the query is not', () => {
  assert.ok(meansLost(serverError('57P01', 'terminating connection')))
  assert.ok(meansLost(localError('Connection terminated unexpectedly')))
  assert.ok(meansLost(localError('read ECONNRESET', 'ECONNRESET')))
  assert.ok(!meansLost(serverError('42P01', 'relation "x" does not exist')))
})
