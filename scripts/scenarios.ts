/** Writes docs/scenarios.md. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scenarioDocument } from '../test/scenarios/document.js'

writeFileSync(join(import.meta.dirname, '../docs/scenarios.md'), scenarioDocument())
