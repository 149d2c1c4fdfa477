import type { Lsn } from '../change/lsn.js'

const STATUS_BYTES = 34
const STANDBY_STATUS_UPDATE = 0x72 // r
const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1)

/**
 * A standby status update: all before `confirmed` was applied, and need not be sent again.
 *
 * Written, flushed and applied are one position: to a copy in memory they mean the same. `wallMs` is the clock's, in
 * milliseconds since 1970; the server only shows it. With `askReply` the server answers at once.
 *
 * @see https://www.postgresql.org/docs/current/protocol-replication.html
 */
export function standbyStatus(confirmed: Lsn, wallMs: number, askReply: boolean): Uint8Array {
  const message = Buffer.alloc(STATUS_BYTES)
  message[0] = STANDBY_STATUS_UPDATE
  message.writeBigUInt64BE(confirmed, 1)
  message.writeBigUInt64BE(confirmed, 9)
  message.writeBigUInt64BE(confirmed, 17)
  message.writeBigInt64BE(BigInt(Math.trunc((wallMs - POSTGRES_EPOCH_MS) * 1000)), 25)
  message[33] = askReply ? 1 : 0
  return message
}
