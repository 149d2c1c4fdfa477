/** What is done to tables, types and publications while the cache runs, or was done before. */
import type { Scenario } from './scenario.js'

export const schemaScenarios = {
  S1: {
    what: 'a column is added with a constant, and no row is written',
    right: 'noticed within a probe; the table is read anew, with the new shape in every row',
  },
  S2: { what: 'a column is added with a default that differs by row', right: 'as S1' },
  S3: {
    what: 'ALTER TYPE ... USING changes every value, and the stream says nothing',
    right: 'no old value is shown after the table is back',
  },
  S4: {
    what: 'a column is dropped',
    right: 'one that was declared: the table is left out by name; another one is no concern',
  },
  S5: {
    what: 'a column is renamed',
    right: 'one that was declared: the table is left out by name, and never shows undefined instead',
  },
  S6: {
    what: 'a table is renamed, or moved to another schema',
    right: 'the declared name means nothing any more: the table is left out by name',
  },
  S7: {
    what: 'a new table takes the name of the old one in one transaction',
    right: 'the rows of the old one go; those of the new one are loaded',
  },
  S8: { what: 'a table is dropped and made again in one transaction', right: 'as S7' },
  S9: {
    what: 'the same, and the publication lists tables, so the new one is not published',
    right: 'our own publication gets it; for the caller’s, the table is left out by name',
  },
  S10: {
    what: 'a transaction changes rows before and after it alters their table',
    right: 'each row is read in the shape that it was written in; memory ends as the table',
  },
  S11: { what: 'the primary key becomes another one', right: 'the table is read anew, by the new key' },
  S12: {
    what: 'replica identity full',
    right: 'the old row is used where it says more than memory: values that are stored out of line',
  },
  S13: {
    what: 'the replica identity is an index other than the primary key',
    right: 'refused at the start, and left out by name when it becomes so: old keys would not be sent',
  },
  S14: {
    what: 'no replica identity, or no primary key',
    right: 'refused at the start, and never published: the application’s own updates would fail',
  },
  S15: {
    what: 'equal rows in a table without a key, under replica identity full',
    right: 'refused at the start: which of them was meant can’t be said',
  },
  S16: {
    what: 'a partition whose columns have another order than its root’s',
    right: 'each row is read by the shape that was announced for it',
  },
  S17: {
    what: 'changes come under the names of partitions, and a row moves between them',
    right: 'it is one row of the root throughout',
  },
  S18: { what: 'a partition is detached or dropped', right: 'its rows are gone' },
  S19: { what: 'a partition with rows is attached', right: 'its rows are there' },
  S20: {
    what: 'one partition is truncated, where the publication publishes roots',
    right: 'noticed: its rows are gone',
  },
  S21: { what: 'an enum gets another label', right: 'values and their order are PostgreSQL’s' },
  S22: { what: 'a label of an enum is renamed', right: 'no row shows the old label once the table is back' },
  S23: {
    what: 'a generated column, which the stream does not carry',
    right: 'refused by name, unless it is left out',
  },
  S24: {
    what: 'a column of a domain, of another domain at that',
    right: 'values are those of its base type',
  },
  S25: {
    what: 'other tables inherit from a table, so that a SELECT shows more than the stream',
    right: 'refused at the start, and left out by name when it becomes so',
  },
  S26: {
    what: 'a view, a materialised view, a system, unlogged or temporary table',
    right: 'refused at the start, by what it is',
  },
  S27: {
    what: 'SET UNLOGGED on a published table',
    right: 'PostgreSQL refuses it, and nothing has happened',
  },
  S28: {
    what: 'the stream carries tables that nobody declared',
    right: 'they are passed over, whatever is in them and whatever is done to them',
  },
  S29: {
    what: 'the publication’s column list lacks a declared column',
    right: 'refused at the start, and left out by name when it becomes so',
  },
  S30: {
    what: 'the publication has a row filter',
    right: 'refused at the start, and left out by name when it becomes so',
  },
  S31: {
    what: 'a composite type, or the element of an array, is altered',
    right: 'the table is read anew',
  },
  S32: {
    what: 'an index, VACUUM FULL, CLUSTER, REINDEX',
    right: 'no row changes, and at most one needless reading',
  },
} as const satisfies Readonly<Record<string, Scenario>>
