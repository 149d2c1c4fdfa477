import type { Random } from '../../simulation/random.js'
import type { Person } from './person.js'

const names = [
  'Ada',
  'Alan',
  'Barbara',
  'Edgar',
  'Edsger',
  'Grace',
  'Jim',
  'Katherine',
  'Leslie',
  'Radia',
  'Tony',
]
const families = [
  'Allen',
  'Codd',
  'Gray',
  'Hamilton',
  'Hopper',
  'Lamport',
  'Liskov',
  'Lovelace',
  'Perlman',
  'Turing',
]

/** Somebody who never lived. */
export function randomPerson(random: Random): Omit<Person, 'id'> {
  const name = `${random.pick(names)} ${random.pick(families)}`
  return {
    name,
    age: random.between(18, 99),
    email: `${name.toLowerCase().replace(' ', '.')}.${random.below(1000)}@example.org`,
    isActive: random.chance(0.7),
  }
}
