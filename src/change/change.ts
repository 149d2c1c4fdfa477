import type { Lsn } from './lsn.js'
import type { Relation } from './relation.js'

/** A column's value is SQL NULL. */
export const NULL = 0
/** A column's value is PostgreSQL's output text, in UTF-8. */
export const TEXT = 1
/** A TOASTed value that the UPDATE left alone: it was not sent, and is not NULL. */
export const UNCHANGED = 2
/** A column outside the replica identity in an old key: not sent, and not NULL. */
export const NOT_SENT = 3

export type ValueKind = typeof NULL | typeof TEXT | typeof UNCHANGED | typeof NOT_SENT

/** PostgreSQL's own limit is 1,600 columns a table (MaxHeapAttributeNumber). */
export const MAX_COLUMNS = 1600

/**
 * One tuple of a change: a view that the decoder refills for each change, so that no object is
 * made per row. Values are in the order of the relation's columns.
 *
 * It and `bytes` are valid only during the call that hands them over.
 */
export class TupleView {
  /** What `starts` and `ends` point into. */
  bytes: Uint8Array = new Uint8Array(0)
  /** How many columns this tuple has. */
  count = 0
  /** A `ValueKind` per column. */
  readonly kinds = new Uint8Array(MAX_COLUMNS)
  /** Where a `TEXT` value begins and ends in `bytes`. */
  readonly starts = new Int32Array(MAX_COLUMNS)
  readonly ends = new Int32Array(MAX_COLUMNS)
}

/**
 * The standard change: what every decoder says, in these words, whatever the output plugin.
 *
 * Calls come in WAL order: `begin`, then changes, then `commit`; `relation` before a
 * relation's first change and after each change of its shape. A stream that is cut off in the middle of
 * a transaction sends it again from `begin`. `B` is what the sink remembers about a relation.
 */
export interface ChangeSink<B> {
  /** While it is true nothing more is to be delivered: the sink has to ask something first. It may become so at any call. */
  readonly held?: boolean
  /** `commitLsn` is where the commit record begins, or null where the plugin does not say. */
  begin(xid: number, commitLsn: Lsn | null): void
  /**
   * Announces a relation, and returns what is to be handed back with its changes: null if nobody wants
   * them, and then they are skipped before a column is looked at.
   */
  relation(relation: Relation): B | null
  insert(table: B, row: TupleView): void
  /**
   * `old` is null when the key did not change and was not sent. `oldIsFull` says that `old` is the
   * whole row (replica identity full); else only its key columns may be read.
   */
  update(table: B, old: TupleView | null, oldIsFull: boolean, row: TupleView): void
  delete(table: B, old: TupleView, oldIsFull: boolean): void
  /** One TRUNCATE of all these tables at once. */
  truncate(tables: readonly B[], cascade: boolean, restartIdentity: boolean): void
  /** A logical message, as `pg_logical_emit_message` writes them. */
  message(prefix: string, content: Uint8Array, transactional: boolean): void
  /** `endLsn` is where the commit record ends: the transaction's one identity and position. */
  commit(endLsn: Lsn, commitTimeMs: number): void
  /**
   * Everything before `lsn` has been delivered, though no transaction says so: what a keepalive
   * proves. May come in the middle of a transaction, and then lies before that one's commit.
   */
  progress(lsn: Lsn): void
}

/**
 * A run of changes that have arrived: many transactions, or a piece of a giant one.
 *
 * The unit that is pulled is this and not the transaction, since a transaction may be larger than
 * memory and an `await` for each small one would cost more than applying it.
 */
export interface ChangeBatch<B> {
  /**
   * Hands at most about `maxChanges` further changes to `sink`; true while there are more in this batch.
   *
   * @throws {DecodeError} for a payload that is not what the protocol says.
   */
  deliver(sink: ChangeSink<B>, maxChanges: number): boolean
}
