import { NULL, TEXT, type TupleView } from '../change/change.js'
import { hashBytes } from '../sql/hash-bytes.js'
import type { StoredIndex } from './index/stored-index.js'
import type { RecordFormat } from './record.js'

/** An index of a bounded table, of which two values are equal exactly if their texts are. */
export interface GroupIndex {
  readonly number: number
  /** Positions of its columns in a row. */
  readonly columns: readonly number[]
  /** Their places in a record. */
  readonly places: readonly number[]
  /** Whether the database has a unique index on just these columns. */
  readonly unique: boolean
  readonly stored: StoredIndex
}

/** A value of such an index: the rows that have it are its group. No part of it is NULL. */
export interface GroupValue {
  readonly index: GroupIndex
  readonly texts: readonly Buffer[]
  readonly id: string
}

/** No key of a row begins with it: those are bytes. */
const MARK = '\u0100'

export function groupValue(index: GroupIndex, texts: readonly Buffer[]): GroupValue {
  return { index, texts, id: idFrom(index, part => texts[part]!.toString('latin1')) }
}

/** The id of the group that a tuple's row belongs to; `order` says where in it each place of a record is. Its values must be there. */
export function groupIdOf(index: GroupIndex, tuple: TupleView, order: Int32Array): string {
  return idFrom(index, part => {
    const at = order[index.places[part]!]!
    return Buffer.from(tuple.bytes.buffer, tuple.bytes.byteOffset, tuple.bytes.byteLength).toString(
      'latin1',
      tuple.starts[at],
      tuple.ends[at],
    )
  })
}

function idFrom({ number, columns }: GroupIndex, text: (part: number) => string): string {
  let id = MARK + String(number)
  for (let part = 0; part < columns.length; part++) {
    const each = text(part)
    id += `,${each.length}:${each}`
  }
  return id
}

/** What a tuple tells of its row's place in an index. */
export const IN_GROUP = 0
/** It has NULL in one of the columns: it is in no group. */
export const IN_NONE = 1
/** One of the columns was not sent. */
export const NOT_TOLD = 2

export function placeIn({ places }: GroupIndex, tuple: TupleView, order: Int32Array): number {
  let place = IN_GROUP
  for (const each of places) {
    const kind = tuple.kinds[order[each]!]!
    if (kind === NULL) return IN_NONE
    if (kind !== TEXT) place = NOT_TOLD
  }
  return place
}

/** The hash of the group's value; its values must be there. Hot: once per change of a bounded table with groups. */
export function groupHashOf({ number, places }: GroupIndex, tuple: TupleView, order: Int32Array): number {
  let hash = number + 1
  for (const place of places) {
    const at = order[place]!
    hash = hashBytes(tuple.bytes, tuple.starts[at]!, tuple.ends[at]!, hash)
  }
  return hash
}

/** The same of a value. */
export function hashOfGroup({ index, texts }: GroupValue): number {
  return texts.reduce((hash, text) => hashBytes(text, 0, text.length, hash), index.number + 1)
}

/** Whether the row that `view` shows, in SELECT order, has the value. */
export function hasValue({ index, texts }: GroupValue, view: TupleView): boolean {
  return index.columns.every((column, part) => {
    if (view.kinds[column] !== TEXT) return false
    const text = texts[part]!
    const start = view.starts[column]!
    if (view.ends[column]! - start !== text.length) return false
    for (let i = 0; i < text.length; i++) if (view.bytes[start + i] !== text[i]) return false
    return true
  })
}

/** The index on these columns, whose values are `stored`. */
export function groupIndex(
  number: number,
  columns: readonly number[],
  unique: boolean,
  stored: StoredIndex,
  format: RecordFormat,
): GroupIndex {
  const placeOf = (column: number): number => {
    let place = 0
    while (format.column(place) !== column) place++
    return place
  }
  return { number, columns, places: columns.map(placeOf), unique, stored }
}
