import type { Lsn } from '../change/lsn.js'

/** What a stream or a load failed of, if it was what it brought, and not a connection or somebody's DDL. */
export interface Fault {
  /** `schema.table`; null if it can't be told. */
  readonly table: string | null
  /** Where the transaction's commit begins, or the newest one before it ends; null if it was the load. */
  readonly position: Lsn | null
}

/**
 * Whether the server's error with this SQLSTATE is about what it holds: values that it can't read or convert (22), limits of a value (54),
 * damaged rows (XX).
 */
export function isAboutData(sqlState: string): boolean {
  return /^(22|54|XX)/.test(sqlState) && sqlState !== INVALID_SNAPSHOT
}

/** SQLSTATE invalid_parameter_value: also what is said of a snapshot that is gone. */
const INVALID_SNAPSHOT = '22023'
