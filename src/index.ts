export {
  type BoundedHealth,
  type Cache,
  type CacheHealth,
  type CacheState,
  openCache,
  type TableHealth,
} from './cache.js'
export type { DurableSlotOptions, OpenCacheOptions, StalePolicy } from './cache/options.js'
export type { AddTableOptions } from './cache/additions.js'
export type { CacheEvents } from './cache/events.js'
export type { Session } from './cache/session.js'
export type { VerifyOptions } from './cache/verification.js'
export type {
  AuditCounts,
  Mismatches,
  TableVerification,
  Verification,
  VerifyProgress,
} from './audit/report.js'
export type { MismatchKind } from './audit/comparison.js'
export type { Isolation, Queryable, WriteOptions, Written } from './cache/write.js'
export type { LoadProgress } from './apply/load.js'
export { formatLsn, type Lsn, parseLsn } from './change/lsn.js'
export {
  BehindError,
  CacheError,
  ClosedError,
  ConnectionError,
  type ConnectionFailure,
  DatabaseReadError,
  DecodeError,
  DivergedError,
  InternalError,
  KeyError,
  MemoryLimitError,
  NotFoundError,
  NotLocalError,
  type NotLocalReason,
  NotReadyError,
  OptionError,
  OverloadedError,
  PoisonError,
  PublicationError,
  QueryError,
  SetupError,
  type SetupProblem,
  SlotError,
  SlotInUseError,
  SnapshotMissError,
  SnapshotNotAlignedError,
  SnapshotTooOldError,
  StaleError,
  StrictSnapshotLimitError,
  TableChangedError,
  TableReloadingError,
  TokenError,
  TokenLostError,
  WaitTimeoutError,
  WriteError,
} from './errors.js'
export type { Keep, Naming, TableOptions } from './mapping/declaration.js'
export { Column, type ColumnOptions, Index, PrimaryKey, ReplicatedTable } from './mapping/decorators.js'
export { type DefinedTable, defineTable, type TableDefinition } from './mapping/define-table.js'
export { setupSql, type SetupSqlOptions } from './mapping/setup-sql.js'
export type { AuditEvent, EvictEvent, FillEvent, Logger } from './observe.js'
export type {
  AnyWhere,
  Count,
  CountInSnapshot,
  Explanation,
  Filter,
  FindFirst,
  FindFirstInSnapshot,
  FindMany,
  FindManyInSnapshot,
  LocalCount,
  LocalFindFirst,
  LocalFindMany,
  LocalQueries,
  Omitting,
  Operand,
  OrderBy,
  Property,
  Queries,
  Select,
  SnapshotQueries,
  Sorting,
  SortOrder,
  Where,
  Whole,
} from './query/query-types.js'
export type {
  ChangeGap,
  ChangesOptions,
  CreateIndexOptions,
  FindInSnapshot,
  FindUnique,
  IndexProgress,
  Key,
  KeyValue,
  LocalReads,
  PrefetchOptions,
  ReadOptions,
  RequestScope,
  RowChange,
  RunOptions,
  SessionTable,
  Snapshot,
  SnapshotTable,
  StrictSnapshot,
  Table,
  TableChange,
  TableDeclaration,
  TruncateChange,
  Watch,
  Watched,
  WaitOptions,
} from './query/types.js'
export { cached, type CachedOptions } from './query/cached.js'
export type { Clock, Runtime, Timers } from './runtime.js'
