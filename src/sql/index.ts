/** `walcache/sql`: what a database can be prepared with by a migration. */
export { type GuardOptions, guardSql, removeGuardSql } from './guard-sql.js'
