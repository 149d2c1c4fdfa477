/**
 * What an output plugin does not carry: the facts by which tables, columns and servers are refused rather than answered wrongly.
 * docs/decoders.md shows them, and the conformance suite compares the two.
 */
export interface DecoderLimits {
  /** The plugin's name. */
  readonly decoder: string
  /** Whether TRUNCATE is in the stream. If not, it is noticed by the table's file, a moment later. */
  readonly truncate: boolean
  /** Whether logical messages are in the stream. */
  readonly messages: boolean
  /** Whether values of `GENERATED ... STORED` columns are in the stream. */
  readonly generatedStored: boolean
  /** Whether a publication's tables, row filters and column lists are heeded. */
  readonly publications: boolean
  /** Whether text of another server encoding arrives as UTF-8. */
  readonly convertsEncoding: boolean
  /** Types of which values can't be had back. */
  readonly lostTypes: readonly LostTypes[]
  /** The plugin's option, if its newer releases have one, with which numbers that are not finite are kept. */
  readonly textNumbersOption: string | null
}

export interface LostTypes {
  /** Declared types: a domain's own OID is not its base type's, and domains travel as text. */
  readonly oids: readonly number[]
  /** As in "it sends ...". */
  readonly why: string
  /** What makes them whole: 'finite' if only NaN and the infinities are lost, 'utc' if only sessions in another zone lose them. */
  readonly mendedBy: keyof Assumptions | null
}

/** What the user vouches for, or was found to be so. */
export interface Assumptions {
  /** No NaN and no infinity is ever stored. */
  readonly finite: boolean
  /** Sessions are in UTC, where the zone of every instant is `+00`. */
  readonly utc: boolean
}
