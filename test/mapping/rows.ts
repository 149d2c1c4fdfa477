import pg from 'pg'
import { NULL, TEXT, TupleView } from '../../src/change/change.js'
import type { MappedColumn, TableMapping } from '../../src/mapping/mapping.js'
import { createRowFactory, type RowFactory } from '../../src/mapping/values.js'

export type Row = Record<string, unknown>
export type Parse = (text: string) => unknown

export const asIs: Parse = text => text
export const parserFor = (oid: number): Parse => pg.types.getTypeParser(oid, 'text')

/** A mapping of which only what rows are made from is real. */
export function mappingOf(
  columns: readonly (readonly [property: string, parse: Parse])[],
  more: Partial<Pick<TableMapping, 'prototype' | 'construct'>> = {},
): TableMapping {
  const mapped = columns.map(
    ([property, parse], i): MappedColumn => ({
      property,
      column: property,
      attnum: i + 1,
      typeOid: 25,
      baseTypeOid: 25,
      typeModifier: -1,
      typeName: 'text',
      typeKind: 'b',
      hasArrayType: true,
      compositeType: null,
      notNull: false,
      deterministic: true,
      codePointOrder: true,
      enumLabels: null,
      foldsAscii: false,
      parse,
    }),
  )
  return {
    name: 'public.things',
    oid: 20_000,
    schema: 'public',
    table: 'things',
    replicaIdentity: 'default',
    declaration: {},
    prototype: null,
    construct: null,
    columns: mapped,
    key: [0],
    indexes: [],
    uniqueKeys: [],
    keep: 'all',
    filter: null,
    partitions: null,
    estimatedRows: -1,
    blocks: 0,
    ...more,
  }
}

/** The texts as the store hands them over: one run of bytes, here in reverse order and amid other bytes. */
function viewOf(texts: readonly (string | null)[]): { view: TupleView; ascii: boolean } {
  const view = new TupleView()
  view.count = texts.length
  const parts: Buffer[] = [Buffer.from('é before')]
  let at = parts[0]!.length
  for (let i = texts.length - 1; i >= 0; i--) {
    const text = texts[i]
    view.kinds[i] = text == null ? NULL : TEXT
    const bytes = Buffer.from(text ?? '')
    view.starts[i] = at
    at += bytes.length
    view.ends[i] = at
    parts.push(bytes)
  }
  view.bytes = Buffer.concat([...parts, Buffer.from('é behind')])
  return { view, ascii: texts.every(text => text === null || /^[\0-\x7f]*$/.test(text)) }
}

export function decodeWith(factory: RowFactory, texts: readonly (string | null)[]): object {
  const { view, ascii } = viewOf(texts)
  return factory.decode(view, ascii)
}

export function rowOf(mapping: TableMapping, texts: readonly (string | null)[]): Row {
  const factory = createRowFactory(mapping)
  return factory.read(decodeWith(factory, texts)) as Row
}
