import pg from 'pg'
import type { PostgresServer } from '../../test/support/postgres.js'
import { startProxy, type TcpProxy } from '../../test/support/tcp-proxy.js'
import type { Random } from '../random.js'
import type { SimulatedTable } from '../tables.js'
import { type Fault, type FaultName, faultNames, faults, type FaultScene } from './faults.js'

export interface InjectorOptions {
  readonly server: Pick<PostgresServer, 'stop' | 'start'>
  readonly databaseUrl: string
  readonly tables: readonly SimulatedTable[]
  readonly random: Random
  /** Connects the history's own sessions again, after the server has ended them. */
  readonly reconnect: () => Promise<void>
}

/** What others use, whom the cache does not know. */
const ASIDE = 'create table aside (id int)'

/** Begins faults and ends them. The cache connects through its proxy. */
export class Injector implements AsyncDisposable {
  /** How often each fault was begun. */
  readonly counts = Object.fromEntries(faultNames.map(name => [name, 0])) as Record<FaultName, number>
  readonly #options: InjectorOptions
  readonly #proxy: TcpProxy
  readonly #scene: FaultScene
  readonly #lasting = new Set<Fault>()
  #client: pg.Client
  /** Settles when the client is free. */
  #free: Promise<unknown> = Promise.resolve()
  #aside: pg.Client[] = []
  #isDoubtful = false

  private constructor(options: InjectorOptions, proxy: TcpProxy, client: pg.Client) {
    this.#options = options
    this.#proxy = proxy
    this.#client = client
    this.#scene = {
      server: options.server,
      proxy,
      tables: options.tables,
      random: options.random,
      query: sql => this.#query(sql),
      queryAside: (...statements) => this.#queryAside(statements),
      reconnect: () => this.#reconnect(),
    }
  }

  static async open(options: InjectorOptions): Promise<Injector> {
    const { hostname, port } = new URL(options.databaseUrl)
    const proxy = await startProxy({ host: hostname, port: Number(port) })
    try {
      const client = await connect(options.databaseUrl)
      await client.query(ASIDE)
      return new Injector(options, proxy, client)
    } catch (error) {
      await proxy[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Where the cache finds the database. */
  get url(): string {
    return this.#proxy.through(this.#options.databaseUrl)
  }

  /** Whether memory may lack something that nobody has told it, until it has found out. */
  get isDoubtful(): boolean {
    return this.#isDoubtful
  }

  async begin(name: FaultName): Promise<void> {
    const fault: Fault = faults[name]
    this.counts[name]++
    if (fault.isSilent === true) this.#isDoubtful = true
    this.#lasting.add(fault)
    await fault.begin(this.#scene)
  }

  /** Ends whatever lasts. */
  async end(): Promise<void> {
    for (const fault of this.#lasting) await fault.end?.(this.#scene)
    this.#lasting.clear()
    await this.#endAside()
  }

  /** Memory has been shown to be right. */
  settled(): void {
    this.#isDoubtful = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endAside()
    await this.#client.end()
    await this.#proxy[Symbol.asyncDispose]()
  }

  /** One after the other: a fault that ends by a timer may ask while another one begins. */
  #query(sql: string): Promise<pg.QueryResult> {
    const answered = this.#free.then(() => this.#client.query(sql))
    this.#free = answered.catch(() => 'told to whoever asked')
    return answered
  }

  async #queryAside(statements: readonly string[]): Promise<void> {
    const client = await connect(this.#options.databaseUrl)
    this.#aside.push(client)
    for (const statement of statements) await client.query(statement)
  }

  async #endAside(): Promise<void> {
    await Promise.all(this.#aside.splice(0).map(client => client.end()))
  }

  async #reconnect(): Promise<void> {
    this.#client = await connect(this.#options.databaseUrl)
    await this.#options.reconnect()
  }
}

async function connect(databaseUrl: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'simulation' })
  // The server ends its sessions when it stops.
  client.on('error', () => undefined)
  await client.connect()
  // Whoever keeps a table locked for longer has been forgotten there: an error, and not a hang.
  await client.query("set lock_timeout = '30s'")
  return client
}
