export { poolOf, tablesOf } from './entity.js'
export { cachedRepository, type CachedRepository, patchRepository, type ReadCounts } from './repository.js'
