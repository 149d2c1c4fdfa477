/**
 * What goes wrong with caches that are fed by logical replication, and what is right then: the list that the tests are held against.
 *
 * A test says by `shows('C1', 'S3')` which of these it shows. `npm test` ends with the table of them. A scenario that no test shows has to say
 * here why: `notApplicable` or `open`. `docs/scenarios.md` is written from this list by `npm run scenarios`.
 */
import { connectionScenarios } from './connection-scenarios.js'
import { interleavings } from './interleavings.js'
import type { Scenario } from './scenario.js'
import { schemaScenarios } from './schema-scenarios.js'

const all = { ...connectionScenarios, ...schemaScenarios, ...interleavings }

export type ScenarioId = keyof typeof all

export const catalogue: Readonly<Record<ScenarioId, Scenario>> = all

export const scenarioIds = Object.keys(all) as ScenarioId[]

/** The parts of the catalogue, as the document has them. */
export const chapters: readonly { readonly title: string; readonly ids: readonly ScenarioId[] }[] = [
  { title: 'Connections, slots, servers, processes', ids: Object.keys(connectionScenarios) as ScenarioId[] },
  { title: 'Tables, types, publications', ids: Object.keys(schemaScenarios) as ScenarioId[] },
  { title: 'Orders of events', ids: Object.keys(interleavings) as ScenarioId[] },
]
