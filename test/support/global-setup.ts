/**
 * Hands out the run's shared Postgres servers, one per major, to the processes the test files run in.
 *
 * They ask over HTTP on the loopback address; the first question for a major starts its server, here in the main
 * process, so that it lives as long as the run and is gone with it.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { findDecoders } from '../../scripts/decoders.js'
import type { Major } from './binaries.js'
import { type PostgresServer, startPostgres } from './postgres.js'

const MAJORS: readonly number[] = [13, 14, 15, 16, 17, 18]

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const servers = new Map<number, Promise<PostgresServer>>()

  const door = createServer((request, response) => {
    const major = Number(request.url?.slice(1))
    // A test may hold up its event loop for seconds: it would then write to a connection that was closed for being idle.
    response.setHeader('connection', 'close')
    answer(servers, major).then(
      server => response.end(JSON.stringify(described(server))),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    )
  })
  await new Promise<void>((resolve, reject) => {
    door.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  project.provide('postgresServers', `http://127.0.0.1:${(door.address() as AddressInfo).port}`)

  return async () => {
    door.closeAllConnections()
    door.close()
    for (const server of servers.values()) {
      // One that did not start told so to those who asked for it.
      await server.then(
        started => started[Symbol.asyncDispose](),
        () => undefined,
      )
    }
  }
}

function answer(servers: Map<number, Promise<PostgresServer>>, major: number): Promise<PostgresServer> {
  if (!MAJORS.includes(major)) return Promise.reject(new Error(`it is one of ${MAJORS.join(', ')}`))
  let server = servers.get(major)
  if (server === undefined) {
    server = start(major as Major)
    servers.set(major, server)
  }
  return server
}

async function start(major: Major): Promise<PostgresServer> {
  const withDecoders = major === 15 && !('missing' in (await findDecoders()))
  return startPostgres({ major, withDecoders })
}

/** As an object literal, since the server's properties are getters, which JSON.stringify does not see. */
function described({ major, version, host, port, url, pid, decoders }: PostgresServer): object {
  return { major, version, host, port, url, pid, decoders }
}
