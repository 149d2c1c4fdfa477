import { isExternal } from '../server/heap.js'
import { lsnText, type Position } from '../server/log.js'
import type { Change, Committed } from '../server/transaction.js'
import { foreign, type TableSpec, type Texts, TYPE_OIDS, type TypeName } from '../schema.js'
import type { Encoder, Frame } from './encoder.js'

/** wal2json's format version 2, as its own sources write it. */
export class Wal2jsonEncoder implements Encoder {
  *frames(transaction: Committed): Iterable<Frame> {
    const { xid, timeMicros, commitAt } = transaction
    const head = `"xid":${xid % 2 ** 32},"timestamp":"${timeText(timeMicros)}"`
    const positions = (lsn: Position): string =>
      `"lsn":"${lsnText(lsn)}","nextlsn":"${lsnText(transaction.end)}"`
    yield mark(transaction.firstAt, `{"action":"B",${head},${positions(commitAt)}}`)
    for (const change of transaction.changes) {
      // The cache asks for its own tables alone.
      if (change.spec?.oid === foreign.oid) continue
      const text = changeText(`${head},${positions(change.at)}`, change)
      yield { at: change.at, payload: Buffer.from(text), change }
    }
    yield mark(transaction.end, `{"action":"C",${head},${positions(commitAt)}}`)
  }

  announceAgain(): void {
    // Each of its changes names its table itself.
  }
}

function mark(at: Position, text: string): Frame {
  return { at, payload: Buffer.from(text), change: null }
}

function timeText(micros: bigint): string {
  const text = new Date(Number(micros / 1000n)).toISOString()
  return `${text.slice(0, 10)} ${text.slice(11, 23)}${String(micros % 1000n).padStart(3, '0')}+00`
}

const ACTIONS = { insert: 'I', update: 'U', delete: 'D', truncate: 'T', message: 'M' } as const

function changeText(common: string, change: Change): string {
  const { kind, spec } = change
  const head = `{"action":"${ACTIONS[kind]}",${common}`
  if (spec === null)
    return `${head},"transactional":true,"prefix":${JSON.stringify(change.prefix)},"content":""}`
  const parts = [head, `"schema":"public","table":"${spec.name}"`]
  if (kind === 'insert' || kind === 'update')
    parts.push(`"columns":[${columnsText(spec, change.new!, change.old)}]`)
  if (kind === 'update' || kind === 'delete') parts.push(`"identity":[${identityText(spec, change.old!)}]`)
  return `${parts.join(',')}}`
}

/** An out-of-line value that the UPDATE has left alone is left out. */
function columnsText(spec: TableSpec, texts: Texts, before: Texts | null): string {
  const items: string[] = []
  for (const [at, text] of texts.entries())
    if (before === null || before[at] !== text || !isExternal(spec, at, text))
      items.push(columnText(spec, at, text))
  return items.join(',')
}

function identityText(spec: TableSpec, texts: Texts): string {
  const positions =
    spec.identity === 'full' ? texts.map((_, at) => at) : [...spec.key].toSorted((a, b) => a - b)
  return positions.map(at => columnText(spec, at, texts[at]!)).join(',')
}

function columnText(spec: TableSpec, at: number, text: string | null): string {
  const { name, type } = spec.columns[at]!
  return `{"name":"${name}","typeoid":${TYPE_OIDS[type]},"value":${valueText(type, text)}}`
}

function valueText(type: TypeName, text: string | null): string {
  if (text === null) return 'null'
  if (type === 'bool') return text === 't' ? 'true' : 'false'
  return type === 'text' ? JSON.stringify(text) : text
}
