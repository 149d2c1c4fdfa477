/** How far a load is: the first one, one after a lost stream, or that of a table read anew. Given to `onProgress`. */
export interface LoadProgress {
  readonly phase: 'load'
  /** Tables that are loaded, and how many of them are done. */
  readonly tables: number
  readonly tablesDone: number
  /** Rows read so far, of all tables. */
  readonly rows: number
  /** The planner's estimate for all tables; 0 where it has none. */
  readonly rowsEstimated: number
  /** Bytes read so far, as COPY sent them. */
  readonly bytes: number
}
