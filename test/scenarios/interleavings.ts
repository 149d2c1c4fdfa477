/** Orders of events between writers, queries, the stream and failures: each gives wrong rows to a simpler way of doing it. */
import type { Scenario } from './scenario.js'

export const interleavings = {
  I1: {
    what: 'a commit that waits for a standby was streamed before its key was asked for; the query shows the old row',
    right: 'the fill is the new row',
  },
  I2: {
    what: 'a later commit is visible to a query that does not see an earlier one',
    right: 'commits are told apart by their transactions, not by positions',
  },
  I3: {
    what: 'a query sees a commit that the stream has not brought yet',
    right: 'its rows are shown when that commit is, with all that it did',
  },
  I4: {
    what: 'a query sees a commit that was never flushed, and the server crashes',
    right: 'memory never has it',
  },
  I5: {
    what: 'two writers change a row while it is being asked for; the query sees one of them',
    right: 'the other one is added, and values that neither sent are kept',
  },
  I6: {
    what: 'a TRUNCATE comes between a query’s answer and its commit',
    right: 'the key is known to be absent',
  },
  I7: {
    what: 'a row moves to a key that is being asked for, without its out-of-line value',
    right: 'both keys are asked for; no value is made up',
  },
  I8: {
    what: 'a row that is not in memory moves into a group that is',
    right: 'the group is never shown without it',
  },
  I9: {
    what: 'a row leaves a group while the group is being asked for',
    right: 'it is in one group only',
  },
  I10: {
    what: 'a key is evicted and asked for again while an older answer is on its way',
    right: 'the older answer is never kept',
  },
  I11: {
    what: 'commits become visible in another order than they were written in',
    right: 'each is counted exactly once',
  },
  I12: {
    what: 'a transaction has written a table before it is published, and commits after it was copied',
    right: 'it is waited for: none of its rows is missing',
  },
  I13: {
    what: 'a rewriting ALTER TABLE between slot and COPY, which then reads no row and says nothing',
    right: 'noticed; the load begins again',
  },
  I14: {
    what: 'a role’s default isolation lets a query that waited for an ALTER TABLE see an empty table',
    right: 'the isolation is pinned: the row is found',
  },
  I15: {
    what: 'a query goes to a standby, whose snapshots list no running transactions',
    right: 'its answer is refused',
  },
  I16: {
    what: 'transaction numbers pass 2^32',
    right: 'they are compared with their epoch',
  },
  I17: {
    what: 'the stream is cut in the middle of a transaction, which then comes again from its beginning',
    right: 'nothing of it is seen before all of it is there, keys that it moves included',
  },
  I18: {
    what: 'a slot has confirmed more than was applied, so that the server would skip the rest',
    right: 'found out before the stream goes on; everything is loaded anew',
  },
  I19: {
    what: 'the cache has applied commits that a promoted standby never got, and the standby accepts its position',
    right: 'those commits are gone from memory, the new ones are there, tokens of the lost ones say so',
  },
  I20: {
    what: 'an UPDATE swaps two keys, where the primary key is deferrable',
    right: 'such a key is refused',
  },
  I21: {
    what: 'the key changes, and the replica identity is another index: the old key is not sent',
    right: 'such an identity is refused',
  },
  I22: {
    what: 'a row that an UPDATE moves into a row filter comes as an insert with a hole',
    right: 'the hole is filled by asking again; row filters are refused besides',
  },
  I23: {
    what: 'one partition is truncated, or detached, and the stream says nothing',
    right: 'its rows are gone',
  },
  I24: {
    what: 'the publication is dropped and made again, and what was written in between never comes',
    right: 'it is there all the same',
  },
  I25: {
    what: 'a token behind a page’s header, or beyond what an open transaction has left unflushed',
    right: 'reached at once on an idle server',
  },
  I26: {
    what: 'a keepalive, or a frame, names a position while a huge transaction before it is half applied',
    right: 'a token is reached when its commit is visible, never before',
  },
  I27: {
    what: 'a snapshot is held while the row’s indexed column changes and old versions are pruned',
    right: 'the index finds the row as it was',
  },
  I28: {
    what: 'a snapshot asks for a row that was not in memory and has changed since',
    right: 'SnapshotMissError, never a later row',
  },
  I29: {
    what: 'a table is emptied and filled again while somebody iterates over it',
    right: 'over a snapshot, the iteration shows one state, each row once; without one it ends by name',
  },
  I30: {
    what: 'synchronous_standby_names would make the application wait for this process',
    right: 'refused before and while it streams, until that is mended',
  },
  I31: {
    what: 'a role’s settings change the text of values, in the stream and in queries',
    right: 'they are pinned on all sessions: equal values have equal texts',
  },
  I32: {
    what: 'somebody waits for a commit while everything is loaded anew from before it',
    right: 'the wait goes on with the new tables, and ends when they show it',
  },
  I33: {
    what: 'commits wait for a standby that is not there, and a flush has to be asked for',
    right: 'the question does not wait for the standby: tokens are reached, memory stays fresh',
  },
  I34: {
    what: 'a transaction is open whose number lies beyond what a snapshot says has ended',
    right: 'it is waited for by its lock, before a table is read anew',
  },
  I35: {
    what: 'a huge transaction rolls a savepoint back',
    right: 'nothing of what was rolled back is ever seen',
  },
} as const satisfies Readonly<Record<string, Scenario>>
