import { DivergedError } from '../errors.js'
import type { BoundRelation } from './binding.js'

/** What one TRUNCATE does to the tables. */
export interface Truncated {
  /** One relation of each table that is empty after it. */
  readonly emptied: readonly BoundRelation[]
  /** One relation of each partitioned table that loses the rows of some partitions: which ones, memory does not know. */
  readonly thinned: readonly BoundRelation[]
}

/** Sorts the relations that one TRUNCATE names: a partitioned table is empty if all its leaves are among them, or it is itself. */
export function truncatedTables(relations: readonly BoundRelation[]): Truncated {
  const oids = new Set(relations.map(({ relation }) => relation.oid))
  const tables = new Map(relations.map(bound => [bound.mapping.oid, bound]))
  const emptied: BoundRelation[] = []
  const thinned: BoundRelation[] = []
  for (const bound of tables.values()) {
    const { oid, partitions } = bound.mapping
    const isEmpty =
      oids.has(oid) || (partitions ?? []).every(partition => !partition.isLeaf || oids.has(partition.oid))
    ;(isEmpty ? emptied : thinned).push(bound)
  }
  return { emptied, thinned }
}

/** A partition was emptied after the table had been read, and whose rows are whose memory does not know: it has to be read once more. */
export class ThinnedError extends DivergedError {
  constructor(table: string) {
    super(table, 'one of its partitions was truncated.')
  }
}
