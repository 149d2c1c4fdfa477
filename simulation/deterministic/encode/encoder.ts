import type { DecoderName } from '../../../src/decode/index.js'
import type { Position } from '../server/log.js'
import type { Change, Committed } from '../server/transaction.js'
import { DecoderbufsEncoder } from './decoderbufs.js'
import { PgoutputEncoder } from './pgoutput.js'
import { Wal2jsonEncoder } from './wal2json.js'

/** One XLogData message: what its header says, and its payload. */
export interface Frame {
  readonly at: Position
  readonly payload: Buffer
  /** What it tells of; null if it is about the transaction, or announces a table. */
  readonly change: Change | null
}

/** An output plugin: what it writes for a commit. It belongs to one stream, since plugins remember what they have announced. */
export interface Encoder {
  frames(transaction: Committed): Iterable<Frame>
  /** Forgets what it has announced. */
  announceAgain(): void
}

export function encoderOf(plugin: DecoderName, major: number): Encoder {
  switch (plugin) {
    case 'pgoutput':
      return new PgoutputEncoder(major)
    case 'wal2json':
      return new Wal2jsonEncoder()
    case 'decoderbufs':
      return new DecoderbufsEncoder()
  }
}
