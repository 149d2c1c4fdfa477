/** A copy of a row's values, in the order of a record. */
export interface PackedRow {
  readonly bytes: Buffer
  readonly ascii: boolean
}

/** What a change tells of a row that memory does not hold. */
export interface ToldRow extends PackedRow {
  /** The columns whose values it does not tell, by their positions in a SELECT: NULL stands in their places. */
  readonly untold: readonly number[]
}

/** What became of a row, or of its absence, that was read from PostgreSQL. */
export type Installed =
  | 'installed'
  /** Known already: what memory says is as true, and may be newer. */
  | 'known'
  /** The transaction in progress has written it. */
  | 'pending'
  /** Too large to be kept. */
  | 'bypassed'
