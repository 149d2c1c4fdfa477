import type { FastifyInstance } from 'fastify'
import { DataSource } from 'typeorm'
import { type Cache, openCache } from '../../src/index.js'
import { poolOf, tablesOf } from '../../src/integrations/typeorm/index.js'
import { buildApp } from './app.js'
import { entities } from './entities.js'

export interface App {
  readonly fastify: FastifyInstance
  readonly dataSource: DataSource
  readonly cache: Cache
  close(): Promise<void>
}

/** A web server on the database at `url`: data source, cache and routes. It listens where its caller says. */
export async function startApp({ name, url }: { name: string; url: string }): Promise<App> {
  const dataSource = await openDataSource(url)
  const cache = await openCache({ pool: poolOf(dataSource), entities: tablesOf(dataSource, entities) })
  const fastify = await buildApp({ name, dataSource, cache })
  return {
    fastify,
    dataSource,
    cache,
    async close() {
      // The cache closes with the application, see the plugin.
      await fastify.close()
      await dataSource.destroy()
    },
  }
}

export async function openDataSource(url: string): Promise<DataSource> {
  return new DataSource({ type: 'postgres', url, entities }).initialize()
}
