/** Connections, slots, servers and processes that fail. */
import type { Scenario } from './scenario.js'

export const connectionScenarios = {
  C1: {
    what: 'a walsender is ended',
    right: 'one loss and one new stream; reads go on; no commit is lost, shown twice or shown in part',
  },
  C2: {
    what: 'a fast restart of the server',
    right: 'the shutdown does not wait for the cache, and the stream is back once connections are accepted',
  },
  C3: {
    what: 'the server crashes, and its slot is set back to before what was applied',
    right: 'the stream goes on where memory stands; what is delivered again is skipped',
  },
  C4: {
    what: 'a crash takes commits away that queries had seen already, or the server is an older one of itself',
    right: 'memory never showed what was not flushed; a log that ends before memory means loading anew',
  },
  C5: {
    what: 'the peer vanishes, and nothing says so',
    right: 'noticed within 15 s of the last frame; until then no read is older than its bound',
  },
  C6: {
    what: 'wal_sender_timeout is 0, so the server sends no sign of life of its own',
    right: 'the server is asked all the same, and not in a tight loop',
  },
  C7: {
    what: 'a silence that is healthy: the server decodes a huge transaction',
    right: 'the stream is left in peace; staleness grows meanwhile, and the policies decide',
  },
  C8: {
    what: 'nothing is read from the socket for longer than wal_sender_timeout',
    right: 'positions are reported meanwhile, so that the connection lives and everything arrives',
  },
  C9: {
    what: 'the event loop stands still for longer than wal_sender_timeout',
    right: 'the first read afterwards knows that it may be stale; the stream is made anew',
  },
  C10: {
    what: 'the server is shut down while the event loop stands still',
    right: 'it waits for no longer than the stall lasts, and stops cleanly',
  },
  C11: {
    what: 'another process uses the slot',
    right: 'tried again for a bounded time, then SlotInUseError; the other one is left alone',
  },
  C12: {
    what: 'two instances of the application would share one slot',
    right: 'each has one of its own by default, and sees every change; a shared name is refused',
  },
  C13: { what: 'the slot was dropped while the stream was down', right: 'everything is loaded anew' },
  C14: {
    what: 'the slot was dropped, and made again by somebody',
    right: 'it has moved on without us, so everything is loaded anew',
  },
  C15: {
    what: 'the slot is invalidated while it streams: max_slot_wal_keep_size',
    right: 'everything is loaded anew, and the reason is told',
  },
  C16: {
    what: 'a burst of log takes the slot from a cache that keeps up',
    right: 'as for any lost slot; memory never goes back, and ends equal to the table',
  },
  C17: {
    what: 'others write much, and the published tables nothing',
    right: 'the slot confirms what passes by, so that the server keeps no log for it',
  },
  C18: { what: 'all replication slots are in use', right: 'a SetupError that names the setting' },
  C19: {
    what: 'all walsenders are in use',
    right: 'a SetupError that names the setting; a running cache tries again, less and less often',
  },
  C20: {
    what: 'the publication does not exist',
    right: 'found before the slot is made; one of the caller’s is never made in his name',
  },
  C21: {
    what: 'the publication is dropped while it streams, and made again',
    right: 'a slot is made after it, and everything loaded anew: nothing in between is missing',
  },
  C22: {
    what: 'a table leaves the publication, or it stops publishing updates',
    right: 'noticed by the fingerprint; the table is read anew, or left out by name',
  },
  C23: { what: 'the role may not replicate', right: 'an error with the statement that mends it' },
  C24: { what: 'wal_level is not logical', right: 'a SetupError that says what to set' },
  C25: { what: 'a wrong password, or none', right: 'named, and tried once: no account is locked' },
  C26: {
    what: 'TLS is asked for where there is none, or is demanded and not used',
    right: 'named; it is never done without',
  },
  C27: {
    what: 'the database does not exist, or the host has no address',
    right: 'named; the latter may pass, the former does not',
  },
  C28: {
    what: 'a standby is promoted',
    right:
      'gone on with where the slot was kept in step and nothing was applied that the standby lacks, else loaded anew; tokens of what was lost say so',
  },
  C29: {
    what: 'the server is a standby',
    right: 'refused by name; once it is promoted the cache opens',
  },
  C30: {
    what: 'a transaction is open while the slot is to be made',
    right: 'waited for with a bound, its owner is named, the start can be aborted, no slot is left over',
  },
  C36: {
    what: 'the cache is closed while it connects, loads or loads anew',
    right: 'close() resolves; no slot, timer, session or socket is left',
  },
  C37: { what: 'the process is killed', right: 'its slot goes with it' },
  C38: {
    what: 'wal_level is lowered after a cache was in use',
    right: 'no slot is left that would keep the server from starting',
  },
  C39: {
    what: 'behind the same address there is another database cluster',
    right: 'found out before the stream goes on; everything is loaded anew, and old tokens are refused',
  },
  C40: {
    what: 'the clock of the machine is set back, or forward',
    right: 'nothing depends on it: ages, waits and probes go by the monotonic clock',
  },
  C41: {
    what: 'a stream that would begin beyond what the server has written, or has confirmed elsewhere',
    right: 'it would silently skip commits, so everything is loaded anew instead',
  },
  C42: {
    what: 'the server refuses the protocol version of its output plugin',
    right: 'an older version is asked for',
    notApplicable: 'version 1 of pgoutput is all that is asked for, and every server that is accepted has it',
  },
  C43: {
    what: 'a server of encoding SQL_ASCII, whose texts may be no text',
    right: 'refused at the start',
  },
  C44: {
    what: 'one transaction can’t be applied, however often it comes',
    right: 'no endless loop: a named error with the table and the position; other tables go on',
  },
} as const satisfies Readonly<Record<string, Scenario>>
