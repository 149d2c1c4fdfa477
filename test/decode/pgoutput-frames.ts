/** Builds the payloads of pgoutput's protocol version 1 byte by byte, right ones and wrong ones. */

type Bytes = readonly number[]

const utf8 = (text: string): Bytes => [...Buffer.from(text)]
const tag = (letter: string): Bytes => utf8(letter)
const zeroTerminated = (text: string): Bytes => [...utf8(text), 0]

export const int16 = (value: number): Bytes => [(value >> 8) & 255, value & 255]
export const int32 = (value: number): Bytes => [(value >> 24) & 255, (value >> 16) & 255, ...int16(value)]
export const int64 = (value: bigint): Bytes => [
  ...int32(Number(value >> 32n)),
  ...int32(Number(value & 0xffff_ffffn) | 0),
]

export const frame = (...parts: readonly (Bytes | string)[]): Uint8Array =>
  Uint8Array.from(parts.flatMap(part => (typeof part === 'string' ? utf8(part) : part)))

/** Text, null, or the letter of another value kind. */
export type Value = string | null | { readonly kind: string }
export const toast: Value = { kind: 'u' }

export function tuple(values: readonly Value[]): Bytes {
  return [...int16(values.length), ...values.flatMap(value)]
}

function value(of: Value): Bytes {
  if (of === null) return tag('n')
  if (typeof of === 'object') return tag(of.kind)
  return [...tag('t'), ...int32(Buffer.byteLength(of)), ...utf8(of)]
}

export const begin = (commitLsn: bigint, micros: bigint, xid: number): Uint8Array =>
  frame('B', int64(commitLsn), int64(micros), int32(xid))

export const commit = (commitLsn: bigint, endLsn: bigint, micros: bigint): Uint8Array =>
  frame('C', [0], int64(commitLsn), int64(endLsn), int64(micros))

export interface ColumnSpec {
  readonly name: string
  readonly type?: number
  readonly modifier?: number
  readonly key?: boolean
}

export const relation = (
  oid: number,
  schema: string,
  name: string,
  identity: string,
  columns: readonly ColumnSpec[],
): Uint8Array =>
  frame(
    'R',
    int32(oid),
    zeroTerminated(schema),
    zeroTerminated(name),
    identity,
    int16(columns.length),
    columns.flatMap(column => [
      column.key === true ? 1 : 0,
      ...zeroTerminated(column.name),
      ...int32(column.type ?? 25),
      ...int32(column.modifier ?? -1),
    ]),
  )

export const insert = (oid: number, row: readonly Value[]): Uint8Array =>
  frame('I', int32(oid), 'N', tuple(row))

export const update = (
  oid: number,
  row: readonly Value[],
  old?: { readonly tag: 'K' | 'O'; readonly row: readonly Value[] },
): Uint8Array =>
  frame('U', int32(oid), ...(old === undefined ? [] : [old.tag, tuple(old.row)]), 'N', tuple(row))

export const remove = (oid: number, old: 'K' | 'O', row: readonly Value[]): Uint8Array =>
  frame('D', int32(oid), old, tuple(row))

export const truncate = (flags: number, oids: readonly number[]): Uint8Array =>
  frame('T', int32(oids.length), [flags], oids.flatMap(int32))

export const message = (flags: number, lsn: bigint, prefix: string, content: string): Uint8Array =>
  frame('M', [flags], int64(lsn), zeroTerminated(prefix), int32(Buffer.byteLength(content)), utf8(content))

export const type = (oid: number, schema: string, name: string): Uint8Array =>
  frame('Y', int32(oid), zeroTerminated(schema), zeroTerminated(name))

export const origin = (lsn: bigint, name: string): Uint8Array => frame('O', int64(lsn), zeroTerminated(name))
