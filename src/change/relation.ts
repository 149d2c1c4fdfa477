/** What UPDATE and DELETE log of the old row: `pg_class.relreplident`. */
export type ReplicaIdentity = 'default' | 'nothing' | 'full' | 'index'

/** A column as the change stream announces it. */
export interface RelationColumn {
  readonly name: string
  /** The declared type's OID: a domain's own OID, not its base type's. */
  readonly typeOid: number
  readonly typeModifier: number
  /** Part of the replica identity. */
  readonly isKey: boolean
}

/**
 * A table as the change stream announces it, before the first change and again after each
 * change of its shape. Tuples that follow have exactly these columns, in this order.
 */
export interface Relation {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly replicaIdentity: ReplicaIdentity
  readonly columns: readonly RelationColumn[]
}
