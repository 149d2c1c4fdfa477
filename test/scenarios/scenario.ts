/** One thing that goes wrong in the field. Tests say with `shows('C1')` that they show what is right then. */
export interface Scenario {
  /** What happens. */
  readonly what: string
  /** What a reader, or the application, may rely on then. */
  readonly right: string
  /** Why there is nothing to show. */
  readonly notApplicable?: string
  /** Why no test shows it yet. */
  readonly open?: string
}
