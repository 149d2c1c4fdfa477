import type { Relation } from '../../src/change/relation.js'
import type { MappedColumn, TableMapping } from '../../src/mapping/mapping.js'

const INT4 = 23
const TEXT_OID = 25

/** A mapping made by hand, for tests without a catalogue: the key columns are `int4`, the others `text`. */
export function mappingOf(
  table: string,
  columns: readonly string[],
  key: readonly string[],
  oid = 16_384,
): TableMapping {
  return {
    name: `public.${table}`,
    oid,
    schema: 'public',
    table,
    replicaIdentity: 'default',
    declaration: { table },
    prototype: null,
    construct: null,
    columns: columns.map((column, position) => columnOf(column, position, key.includes(column))),
    key: key.map(column => columns.indexOf(column)),
    indexes: [],
    uniqueKeys: [],
    keep: 'all',
    filter: null,
    partitions: null,
    estimatedRows: -1,
    blocks: 0,
  }
}

/** The same with columns of other types, by their OIDs. */
export function typed(mapping: TableMapping, typeOids: readonly number[]): TableMapping {
  const columns = mapping.columns.map(
    (column, i): MappedColumn => ({ ...column, typeOid: typeOids[i]!, baseTypeOid: typeOids[i]! }),
  )
  return { ...mapping, columns }
}

function columnOf(column: string, position: number, isKey: boolean): MappedColumn {
  const oid = isKey ? INT4 : TEXT_OID
  return {
    property: column,
    column,
    attnum: position + 1,
    typeOid: oid,
    baseTypeOid: oid,
    typeModifier: -1,
    typeName: isKey ? 'integer' : 'text',
    typeKind: 'b',
    hasArrayType: true,
    compositeType: null,
    notNull: isKey,
    deterministic: true,
    codePointOrder: true,
    enumLabels: null,
    foldsAscii: false,
    parse: isKey ? Number : text => text,
  }
}

/** The same table as the stream announces it. */
export function relationOf({ oid, schema, table, columns, key }: TableMapping): Relation {
  return {
    oid,
    schema,
    name: table,
    replicaIdentity: 'default',
    columns: columns.map(({ column, typeOid, typeModifier }, position) => ({
      name: column,
      typeOid,
      typeModifier,
      isKey: key.includes(position),
    })),
  }
}
