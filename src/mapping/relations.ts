import type { Relation } from '../change/relation.js'
import type { TableMapping } from './mapping.js'

type Partitioned = Pick<TableMapping, 'oid' | 'partitions'>

/** The OIDs under which the stream may name a table: its own, and those of its partitions. */
export function relationOids({ oid, partitions }: Partitioned): number[] {
  return [oid, ...(partitions ?? []).map(partition => partition.oid)]
}

/** Whether both have the same partitions, if any. */
export function samePartitions(one: Partitioned, other: Partitioned): boolean {
  const oids = new Set(relationOids(one))
  const others = relationOids(other)
  return oids.size === others.length && others.every(oid => oids.has(oid))
}

/** The mapped tables in the stream's words; each partition is a relation of its own. */
export function relationsOf(mappings: readonly TableMapping[]): Relation[] {
  return mappings.flatMap(mapping => {
    const { oid, schema, table, replicaIdentity, partitions, key } = mapping
    const columns = mapping.columns.map(({ column, typeOid, typeModifier }, position) => ({
      name: column,
      typeOid,
      typeModifier,
      isKey: key.includes(position),
    }))
    return [{ oid, schema, table, replicaIdentity }, ...(partitions ?? [])].map(relation => ({
      oid: relation.oid,
      schema: relation.schema,
      name: relation.table,
      replicaIdentity: relation.replicaIdentity,
      columns,
    }))
  })
}
