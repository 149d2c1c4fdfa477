declare const lsnBrand: unique symbol

/**
 * A position in the write-ahead log, in bytes.
 *
 * @see https://www.postgresql.org/docs/current/datatype-pg-lsn.html
 */
export type Lsn = bigint & { readonly [lsnBrand]: 'Lsn' }

export const LSN_ZERO = 0n as Lsn

/** PostgreSQL's largest position, 2^64 - 1. */
export const LSN_MAX = 0xffff_ffff_ffff_ffffn as Lsn

const LSN_TEXT = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i

/**
 * The position that `text` names, in either spelling: `0/14F77E0` or `00000000/014F77E0`.
 *
 * @throws {TypeError} if it is not the text of a pg_lsn.
 */
export function parseLsn(text: string): Lsn {
  const parts = LSN_TEXT.exec(text)
  if (parts === null) throw new TypeError(`Not a log position: ${JSON.stringify(text.slice(0, 40))}`)
  return lsnFromHalves(Number.parseInt(parts[1]!, 16), Number.parseInt(parts[2]!, 16))
}

/** PostgreSQL's own spelling, as in `0/14F77E0`. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`.toUpperCase()
}

/** The position whose upper and lower 32 bits are given, as the replication protocol sends them. */
export function lsnFromHalves(high: number, low: number): Lsn {
  return ((BigInt(high) << 32n) | BigInt(low)) as Lsn
}

export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b
}

const SHORT_PAGE_HEADER = 24n
const LONG_PAGE_HEADER = 40n

/**
 * `lsn`, moved back over a page header that it points behind.
 *
 * When the last record ends exactly at a page's end, the insert position already lies behind
 * the next page's header, while the flush position and keepalives stay at the page boundary;
 * an idle server would never reach it. No record can end at those two offsets.
 */
export function normaliseInsertLsn(lsn: Lsn, walBlockBytes: number, walSegmentBytes: number): Lsn {
  const inPage = lsn % BigInt(walBlockBytes)
  const firstPage = lsn % BigInt(walSegmentBytes) < BigInt(walBlockBytes)
  const header = firstPage ? LONG_PAGE_HEADER : SHORT_PAGE_HEADER
  return (inPage === header ? lsn - header : lsn) as Lsn
}
