/** An error as PostgreSQL sends it. */
export class ServerError extends Error {
  readonly severity: string = 'ERROR'
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

/** One that ends the session. */
export class FatalServerError extends ServerError {
  override readonly severity = 'FATAL'
}

export const LOCK_NOT_AVAILABLE = '55P03'
export const OBJECT_IN_USE = '55006'
export const NOT_IN_PREREQUISITE_STATE = '55000'
export const UNDEFINED_OBJECT = '42704'
export const DUPLICATE_OBJECT = '42710'
export const INVALID_PARAMETER = '22023'
export const ADMIN_SHUTDOWN = '57P01'
export const CANNOT_CONNECT_NOW = '57P03'
export const TOO_MANY_CONNECTIONS = '53300'
