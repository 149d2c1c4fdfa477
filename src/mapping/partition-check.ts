import type { SetupProblem } from '../errors.js'
import { quoteQualified } from '../sql/quote.js'
import type { CatalogIdentity, CatalogPartition, CatalogTable } from './catalog.js'
import type { TableMapping } from './mapping.js'
import { sameNames, type TableProblem } from './table-check.js'

/** What keeps a partitioned table's leaves from being followed: the stream has each row's changes as its leaf's. */
export function partitionProblems({ primaryKey, partitions }: CatalogTable): TableProblem[] {
  const problems: TableProblem[] = []
  const leaves = (partitions ?? []).filter(({ kind }) => kind !== 'p')
  // A primary key keeps foreign tables from being partitions, and a permanent table temporary ones.
  const unlogged = leaves.filter(({ persistence }) => persistence !== 'p')
  const [first] = unlogged
  if (first !== undefined)
    problems.push({
      kind: 'table-persistence',
      message: `its partition ${nameOf(first)}${others(unlogged)} is unlogged, so its changes are not in the log. ALTER TABLE ${nameOf(first)} SET LOGGED;`,
    })
  if (primaryKey === null || !primaryKey.valid) return problems
  const keyless = leaves.filter(leaf => !isLoggedByKey(leaf, primaryKey.columns))
  const [other] = keyless
  if (other !== undefined)
    problems.push({
      kind: 'replica-identity',
      message: `the replica identity of its partition ${nameOf(other)}${others(keyless)} is not the primary key, so the change stream does not say which row an UPDATE or DELETE means. ALTER TABLE ${nameOf(other)} REPLICA IDENTITY DEFAULT; (or FULL)`,
    })
  return problems
}

/** Each row belongs to one table here: a partition is declared, or what it is a partition of, and not both. */
export function overlapProblems(mappings: readonly TableMapping[]): SetupProblem[] {
  return mappings.flatMap(({ oid, name }) => {
    const root = mappings.find(({ partitions }) => partitions?.some(partition => partition.oid === oid))
    if (root === undefined) return []
    const message = `this is a partition of ${root.name}, which is declared as well. Declare one of the two.`
    return [{ kind: 'partition-of-declared', table: name, message }]
  })
}

function isLoggedByKey(
  { replicaIdentity, primaryKey, identityIndex }: CatalogIdentity,
  key: readonly string[],
): boolean {
  if (replicaIdentity === 'full') return true
  const index =
    replicaIdentity === 'default' ? primaryKey : replicaIdentity === 'index' ? identityIndex : null
  return index !== null && index.valid && index.immediate && sameNames(index.columns, key)
}

const nameOf = ({ schema, name }: CatalogPartition): string => quoteQualified(schema, name)

/** Says that the one that is named is not the only one. */
function others({ length }: readonly CatalogPartition[]): string {
  return length === 1 ? '' : ` (and ${length - 1} more)`
}
