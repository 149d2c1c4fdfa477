import { Applier } from '../../src/apply/applier.js'
import { FILL_RULES, type FillRules } from '../../src/apply/fill-rules.js'
import { NULL, UNCHANGED } from '../../src/change/change.js'
import { lsnFromHalves } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import type { Xid8 } from '../../src/change/xid.js'
import { FreshnessGate } from '../../src/freshness/gate.js'
import { PositionWaiters } from '../../src/freshness/waiters.js'
import { Standby } from '../../src/source/standby.js'
import { Readers } from '../../src/store/readers.js'
import { Store } from '../../src/store/store.js'
import { TableStore } from '../../src/store/table.js'
import { FrameQueue } from '../../src/wire/frames.js'
import { replace } from '../replace.js'

/** What the scripted server is to keep from the cache, as if nobody looked. */
export type Hidden = 'timeline'

/** A protection that is taken away, to see that the simulation misses it. */
export interface Break {
  /** Changes the cache's own classes, from outside; returns what puts them right again. */
  readonly apply?: () => () => void
  readonly fillRules?: FillRules
  readonly hidden?: Hidden
}

function overtakingKeepalives(): () => void {
  const ahead = new WeakMap<FrameQueue, readonly [number, number]>()
  const restorePush = replace(
    FrameQueue.prototype,
    'pushKeepalive',
    original =>
      function (this: FrameQueue, high, low) {
        ahead.set(this, [high, low])
        original.call(this, high, low)
      },
  )
  const restoreShift = replace(
    FrameQueue.prototype,
    'shift',
    original =>
      function (this: FrameQueue) {
        const first = ahead.get(this)
        if (first === undefined) return original.call(this)
        ahead.delete(this)
        this.isKeepalive = true
        this.lsnHigh = first[0]
        this.lsnLow = first[1]
        return true
      },
  )
  return () => {
    restorePush()
    restoreShift()
  }
}

/** Deliberate bugs, by name. Nothing in `src` knows of them. */
export const deterministicBreaks: Readonly<Record<string, Break>> = {
  // What was received is confirmed, before it is applied.
  'confirm-on-receipt': {
    apply: () =>
      replace(
        Standby.prototype,
        'received',
        original =>
          function (this: Standby, high, low) {
            original.call(this, high, low)
            this.confirm(lsnFromHalves(high, low))
          },
      ),
  },
  // Rows of a transaction appear one by one.
  'publish-per-row': {
    apply: () =>
      replace(
        Store.prototype,
        'begin',
        original =>
          function (this: Store) {
            const seq = original.call(this)
            this.readers.visible = seq
            return seq
          },
      ),
  },
  // A keepalive is not made to wait for what came before it.
  'keepalive-overtakes': { apply: overtakingKeepalives },
  // An out-of-line value that was left alone is taken for NULL.
  'toast-as-null': {
    apply: () =>
      replace(
        TableStore.prototype,
        'update',
        original =>
          function (this: TableStore, old, oldIsFull, row, ...rest) {
            for (let at = 0; at < row.count; at++) if (row.kinds[at] === UNCHANGED) row.kinds[at] = NULL
            return original.call(this, old, oldIsFull, row, ...rest)
          },
      ),
  },
  // A row whose key has changed stays under its old key as well.
  'old-key-kept': {
    apply: () =>
      replace(
        TableStore.prototype,
        'update',
        original =>
          function (this: TableStore, _old, _oldIsFull, row, ...rest) {
            return original.call(this, null, false, row, ...rest)
          },
      ),
  },
  'truncate-ignored': { apply: () => replace(Applier.prototype, 'truncate', () => () => undefined) },
  'deletes-ignored': { apply: () => replace(Applier.prototype, 'delete', () => () => undefined) },
  // Versions that a snapshot sees are pruned.
  'pin-ignored': {
    apply: () => {
      const descriptor = Object.getOwnPropertyDescriptor(Readers.prototype, 'horizon')!
      Object.defineProperty(Readers.prototype, 'horizon', {
        ...descriptor,
        get(this: Readers) {
          return this.visible
        },
      })
      return () => void Object.defineProperty(Readers.prototype, 'horizon', descriptor)
    },
  },
  // 32 bits of a transaction's id are taken for all 64.
  'xid-not-widened': {
    apply: () => replace(SqlSnapshot.prototype, 'widen', () => xid => BigInt(xid) as Xid8),
  },
  // Transactions that were running when a query was made are taken for visible to it.
  'running-ignored': {
    apply: () =>
      replace(
        SqlSnapshot.prototype,
        'sees',
        () =>
          function (this: SqlSnapshot, xid) {
            return xid < this.xmax
          },
      ),
  },
  // Memory is taken for fresh, however long nothing was proven.
  'age-ignored': { apply: () => replace(FreshnessGate.prototype, 'stalenessMs', () => () => 0) },
  // Nobody waits for a position: neither tokens nor probes.
  'positions-not-awaited': {
    apply: () => replace(PositionWaiters.prototype, 'wait', () => () => Promise.resolve()),
  },
  // Who waits for a position waits for ever: nothing that is shown is wrong, but memory never becomes fresh.
  'positions-never-reached': {
    apply: () => replace(PositionWaiters.prototype, 'wait', () => () => new Promise(() => undefined)),
  },
  // Of fills: the commit log from the miss on, none at all, no wait for what the query saw, positions instead of ids.
  'fill-log-from-miss': { fillRules: { ...FILL_RULES, logFrom: 'miss' } },
  'fill-without-log': { fillRules: { ...FILL_RULES, merge: false } },
  'fill-without-wait': { fillRules: { ...FILL_RULES, wait: false } },
  'fill-by-position': { fillRules: { ...FILL_RULES, sees: ({ position }, { end }) => end <= position } },
  // A stream is gone on with after a failover.
  'timeline-not-compared': { hidden: 'timeline' },
}
