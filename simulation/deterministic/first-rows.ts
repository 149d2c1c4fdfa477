import type { Random } from '../random.js'
import { balanceRows, type Mix, rowOf } from './generate.js'
import { bank, cash, type TableSpec, type Texts } from './schema.js'
import type { PostgresModel } from './server/model.js'
import { WriterSession } from './server/writes.js'

/** What each row of the balanced tables begins with. */
export const BALANCE = 1000

/** What is there before anybody looks. */
export function writeFirstRows(model: PostgresModel, random: Random, mix: Mix): void {
  const session = new WriterSession(model)
  for (const spec of mix.tables)
    for (const texts of firstRowsOf(random, mix, spec)) session.insert(spec, texts)
  const transaction = session.release()!
  model.commit(transaction)
  model.flush()
  model.makeVisible(transaction)
}

function firstRowsOf(random: Random, mix: Mix, spec: TableSpec): Texts[] {
  if (spec === cash || spec === bank)
    return Array.from({ length: balanceRows(mix) }, (_, i) => [String(i + 1), String(BALANCE)])
  return Array.from({ length: Math.ceil(mix.keys / 2) }, () => rowOf(random, mix, spec))
}
