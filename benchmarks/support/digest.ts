import { createHash } from 'node:crypto'
import type { Person } from './database.js'

/** MD5 of the people there are, in the order of their ids, as `digestInPostgres` has Postgres put them. */
export function digestOf(get: (id: number) => Person | undefined, size: number): string {
  const hash = createHash('md5')
  for (let id = 1, found = 0; found < size; id++) {
    const person = get(id)
    if (person === undefined) continue
    found++
    const { name, age, email, is_active } = person
    hash.update(`${person.id}|${name}|${age}|${email}|${is_active}\n`)
  }
  return hash.digest('hex')
}
