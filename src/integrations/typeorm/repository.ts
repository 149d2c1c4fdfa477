import {
  EntityNotFoundError,
  type FindManyOptions,
  type FindOneOptions,
  type FindOptionsWhere,
  type ObjectLiteral,
  type Repository,
} from 'typeorm'
import {
  type AnyWhere,
  type Cache,
  KeyError,
  NotLocalError,
  QueryError,
  type Table,
  TableReloadingError,
} from '../../index.js'
import { type CachedEntity, cachedEntity, type ColumnRow } from './entity.js'
import { countCondition, type EntityQuery, findQuery } from './find-options.js'
import { hydrate } from './hydrate.js'
import { type Condition, ORIGINAL } from './where.js'

type Where<Entity> = FindOptionsWhere<Entity> | FindOptionsWhere<Entity>[]

/** How many reads were put to whom. */
export interface ReadCounts {
  /** To the cache, which asks PostgreSQL itself where memory can't prove the answer. */
  cached: number
  /** To the repository. */
  original: number
}

/**
 * The reads of a TypeORM repository, answered from the cache where that gives what TypeORM would have given, else by the repository itself:
 * relations, locks, the query builder, columns with `select: false`, operators that only Postgres knows.
 *
 * What comes back is yours to change: entities of the same classes, with their transformers, embedded entities and AfterLoad listeners.
 *
 * The lost update: an entity from here may be as old as `maxStaleness`, and TypeORM's `save` writes every property that differs from the
 * database's row, also one that somebody else has changed meanwhile and you have not. Read what you are going to save through the repository,
 * in a transaction; or write only what you mean, with `update`.
 */
export interface CachedRepository<Entity extends ObjectLiteral> {
  /** The repository that is wrapped: for writes, and for reads that must be Postgres's. */
  readonly original: Repository<Entity>
  /** How many reads were put to the cache so far, and how many to the repository. */
  readonly reads: Readonly<ReadCounts>
  findOneBy(where: Where<Entity>): Promise<Entity | null>
  findOne(options: FindOneOptions<Entity>): Promise<Entity | null>
  /** @throws {EntityNotFoundError} as TypeORM does. */
  findOneByOrFail(where: Where<Entity>): Promise<Entity>
  /** @throws {EntityNotFoundError} as TypeORM does. */
  findOneOrFail(options: FindOneOptions<Entity>): Promise<Entity>
  findBy(where: Where<Entity>): Promise<Entity[]>
  find(options?: FindManyOptions<Entity>): Promise<Entity[]>
  countBy(where: Where<Entity>): Promise<number>
  count(options?: FindManyOptions<Entity>): Promise<number>
  existsBy(where: Where<Entity>): Promise<boolean>
  exists(options?: FindManyOptions<Entity>): Promise<boolean>
}

/**
 * Reads of `repository` through `cache`, which must have been opened with the entity's table (`tablesOf`). The repository stays as it is.
 *
 * Of a transaction's own repository (`manager.getRepository` in it) every read goes to the original: it must see what the transaction wrote.
 *
 * @throws {OptionError} for an entity that is not in the cache, or that can't be.
 */
export function cachedRepository<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  cache: Cache,
): CachedRepository<Entity> {
  return new RepositoryReader(repository, cache)
}

const READS = [
  'findOneBy',
  'findOne',
  'findOneByOrFail',
  'findOneOrFail',
  'findBy',
  'find',
  'countBy',
  'count',
  'existsBy',
  'exists',
] as const satisfies readonly (keyof CachedRepository<ObjectLiteral>)[]

/**
 * Makes this one repository object read through the cache, wherever it is used already; what it returns takes that back. Repositories that
 * TypeORM makes for a transaction are others, and stay as they are. Mind the lost update, see `CachedRepository`: code that was written
 * for a repository may well `save` what it found.
 *
 * @throws {OptionError} as `cachedRepository`.
 */
export function patchRepository<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  cache: Cache,
): () => void {
  // As it is before the patch, so that the reader does not come back to itself.
  const original = repository.extend({})
  const reader = cachedRepository(original, cache)
  for (const read of READS)
    Object.defineProperty(repository, read, { value: reader[read].bind(reader), configurable: true })
  return () => {
    for (const read of READS) Reflect.deleteProperty(repository, read)
  }
}

class RepositoryReader<Entity extends ObjectLiteral> implements CachedRepository<Entity> {
  readonly original: Repository<Entity>
  readonly reads: ReadCounts = { cached: 0, original: 0 }
  readonly #cache: Cache
  readonly #entity: CachedEntity
  readonly #table: Table<ColumnRow>

  constructor(original: Repository<Entity>, cache: Cache) {
    this.original = original
    this.#cache = cache
    this.#entity = cachedEntity(original.metadata)
    this.#table = cache.table(this.#entity.table)
  }

  async findOneBy(where: Where<Entity>): Promise<Entity | null> {
    const query = isGiven(where) ? this.#query({ where }) : null
    const entities = query === null ? null : await this.#entities({ ...query, take: 1 })
    return entities === null ? this.#ask(original => original.findOneBy(where)) : (entities[0] ?? null)
  }

  async findOne(options: FindOneOptions<Entity>): Promise<Entity | null> {
    const query = isGiven(options.where) ? this.#query(options) : null
    const entities = query === null ? null : await this.#entities({ ...query, take: 1 })
    return entities === null ? this.#ask(original => original.findOne(options)) : (entities[0] ?? null)
  }

  async findOneByOrFail(where: Where<Entity>): Promise<Entity> {
    return (await this.findOneBy(where)) ?? this.#notFound(where)
  }

  async findOneOrFail(options: FindOneOptions<Entity>): Promise<Entity> {
    return (await this.findOne(options)) ?? this.#notFound(options)
  }

  async findBy(where: Where<Entity>): Promise<Entity[]> {
    const query = isGiven(where) ? this.#query({ where }) : null
    const entities = query === null ? null : await this.#entities(query)
    return entities ?? this.#ask(original => original.findBy(where))
  }

  async find(options: FindManyOptions<Entity> = {}): Promise<Entity[]> {
    const query = this.#query(options)
    const entities = query === null ? null : await this.#entities(query)
    return entities ?? this.#ask(original => original.find(options))
  }

  async countBy(where: Where<Entity>): Promise<number> {
    const count = isGiven(where) ? await this.#count({ where }) : null
    return count ?? this.#ask(original => original.countBy(where))
  }

  async count(options: FindManyOptions<Entity> = {}): Promise<number> {
    return (await this.#count(options)) ?? this.#ask(original => original.count(options))
  }

  async existsBy(where: Where<Entity>): Promise<boolean> {
    const exists = isGiven(where) ? await this.#exists({ where }) : null
    return exists ?? this.#ask(original => original.existsBy(where))
  }

  async exists(options: FindManyOptions<Entity> = {}): Promise<boolean> {
    return (await this.#exists(options)) ?? this.#ask(original => original.exists(options))
  }

  /** What the original gives. It may show newer commits than the request has read so far, which later reads must not go back behind. */
  async #ask<T>(read: (original: Repository<Entity>) => Promise<T>): Promise<T> {
    this.reads.original++
    const answer = await read(this.original)
    this.#cache.scope?.databaseWasRead()
    return answer
  }

  #notFound(criteria: unknown): never {
    throw new EntityNotFoundError(this.#entity.metadata.target, criteria)
  }

  #isInTransaction(): boolean {
    return (this.original.queryRunner ?? this.original.manager.queryRunner) !== undefined
  }

  #query(options: object): EntityQuery | null {
    return this.#isInTransaction() ? null : findQuery(this.#entity, options)
  }

  #condition(options: object): Condition | null | typeof ORIGINAL {
    return this.#isInTransaction() ? ORIGINAL : countCondition(this.#entity, options)
  }

  /** Null where only the original can answer. */
  async #entities({ columns, ...query }: EntityQuery): Promise<Entity[] | null> {
    const rows = await this.#ifPossible(() => this.#rows(query))
    return rows === null ? null : hydrate<Entity>(this.#entity.metadata, columns, rows)
  }

  async #rows({ where, orderBy, skip, take }: Omit<EntityQuery, 'columns'>): Promise<readonly ColumnRow[]> {
    return this.#table.findMany({
      ...(where === null ? {} : { where: where as object as AnyWhere }),
      ...(orderBy.length === 0 ? {} : { orderBy: orderBy as readonly object[] }),
      ...(skip === 0 ? {} : { skip }),
      ...(take === undefined ? {} : { take }),
    })
  }

  async #count(options: object): Promise<number | null> {
    const where = this.#condition(options)
    if (where === ORIGINAL) return null
    return this.#ifPossible(() =>
      this.#table.count(where === null ? {} : { where: where as object as AnyWhere }),
    )
  }

  async #exists(options: object): Promise<boolean | null> {
    const where = this.#condition(options)
    if (where === ORIGINAL) return null
    const first = await this.#ifPossible(() => this.#rows({ where, orderBy: [], skip: 0, take: 1 }))
    return first === null ? null : first.length > 0
  }

  /** What a read of the cache gives, or null if it can't be put to the cache: Postgres then has the word, and the error if there is one. */
  async #ifPossible<T>(read: () => Promise<T>): Promise<T | null> {
    try {
      const answer = await read()
      this.reads.cached++
      return answer
    } catch (error) {
      if (isForOriginal(error)) return null
      throw error
    }
  }
}

/** Whether the question, or the table's columns of just now, are for the original to make something of. */
function isForOriginal(error: unknown): boolean {
  return (
    error instanceof QueryError ||
    error instanceof KeyError ||
    error instanceof NotLocalError ||
    error instanceof TableReloadingError
  )
}

/** What no condition means is for TypeORM to say: an error here, every row there. */
function isGiven(where: unknown): boolean {
  return where !== undefined && where !== null
}
