export interface LoadProgress {
  readonly phase: 'load'
  readonly tables: number
  readonly tablesDone: number
  readonly rows: number
  /** The planner's estimate for all tables; 0 where it has none. */
  readonly rowsEstimated: number
  readonly bytes: number
}
