import { OptionError, SetupError, type SetupProblem } from '../errors.js'
import { SHARED_PUBLICATION, setupStatements } from '../sql/publication-sql.js'
import { declarationOf, notDeclaredProblem } from './declared.js'

/** Options of `setupSql`. */
export interface SetupSqlOptions {
  /** The role that the application connects as; default `walcache`. */
  readonly role?: string
  /** Default: the one that all applications on the database share. */
  readonly publication?: string
}

const DEFAULT_ROLE = 'walcache'

/**
 * SQL for a DBA that makes the role, its grants and the publication for these entities, without a database at hand.
 *
 * @throws {OptionError} if there are no entities. @throws {SetupError} if one is not declared.
 */
export function setupSql(entities: readonly object[], options: SetupSqlOptions = {}): string {
  if (entities.length === 0)
    throw new OptionError('entities', 'give at least one class or defineTable result.')
  const problems: SetupProblem[] = []
  const tables = entities.flatMap(entity => {
    const declaration = declarationOf(entity)
    if (declaration !== undefined) return [{ schema: declaration.schema, table: declaration.name }]
    problems.push(notDeclaredProblem(entity))
    return []
  })
  if (problems.length > 0) throw new SetupError(problems)
  const { role = DEFAULT_ROLE, publication = SHARED_PUBLICATION } = options
  return setupStatements(tables, { role, publication })
}
