/**
 * Where a record begins: the page's number and the word within it, in one 32-bit integer. An address is good only until
 * the record is freed or moved, so nothing but a row's chain keeps one.
 */
export type Address = number

/** No record. */
export const NONE: Address = 0

/** A version number that every read compares: plain integers, 48 bits of which a record keeps. */
export type CommitSeq = number

/** A row's number within its table: stable while the row has any version, used again later. */
export type RowId = number
