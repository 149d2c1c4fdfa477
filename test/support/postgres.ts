/**
 * Throw-away Postgres servers: real ones, from npm, without Docker, root or installation.
 *
 *     await using server = await startPostgres({ major: 18 })
 *     const url = await createDatabase(server)
 *
 * A test wants `testDatabase` of servers.ts instead, which shares one server per major. Start a server of your own
 * when it must crash, restart or have other settings, and in the demo, the simulation and the benchmarks.
 *
 * The server is gone when its parent is, whatever ends the parent: a shell holds it and reads a pipe of ours.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { type DecoderName, type Decoders, DECODERS_MAJOR, findDecoders } from '../../scripts/decoders.js'
import {
  type Binaries,
  canReach,
  findBinaries,
  type Major,
  reachableTemporaryFolder,
  type ServerUser,
  serverUser,
} from './binaries.js'
import { readableCopy } from './readable-copy.js'

export type { Major } from './binaries.js'

export interface PostgresOptions {
  major?: Major
  /** Server settings, over `defaultSettings`. */
  settings?: Readonly<Record<string, string | number>>
  /** More arguments of initdb, such as `--locale-provider=icu`; later ones win. */
  initdbArgs?: readonly string[]
  /** A standby of this server, which has to be stopped: a copy of its data, which goes on as a standby once it is started. */
  standbyOf?: PostgresServer
  /** Receives the server's log as it is written. */
  log?: (text: string) => void
  /** Make wal2json and decoderbufs loadable. Major 15 only; throws with the reason when they can't be had. */
  withDecoders?: boolean
}

/**
 * How to stop. `fast` ends all sessions and checkpoints; it waits for a walsender until its client has confirmed
 * everything, so after a few seconds it turns into `immediate`, which is a crash: the next start recovers.
 */
export type StopMode = 'fast' | 'immediate'

export interface PostgresServer extends AsyncDisposable {
  readonly major: Major
  /** The release, such as "18.4". */
  readonly version: string
  readonly host: string
  readonly port: number
  /** Database `postgres`, superuser `postgres`, no password. */
  readonly url: string
  readonly dataDirectory: string
  /** The postmaster's; undefined while stopped. */
  readonly pid: number | undefined
  /** The output plugins a slot may name, besides the built-in test_decoding. */
  readonly decoders: readonly DecoderName[]
  /** The end of the server's log. */
  readonly logTail: string
  /** Stops the server and keeps its data and port: `start` brings it back. */
  stop(mode?: StopMode): Promise<void>
  /** Starts a stopped server again: same data, same port. */
  start(): Promise<void>
  restart(mode?: StopMode): Promise<void>
  /** Stops the server and deletes its data. */
  [Symbol.asyncDispose](): Promise<void>
}

const HOST = '127.0.0.1'
const READY_MS = 30_000
const FAST_STOP_MS = 5_000
const PORT_ATTEMPTS = 5
const LOG_TAIL_CHARS = 8_000

const defaultSettings: Readonly<Record<string, string | number>> = {
  wal_level: 'logical',
  max_wal_senders: 32,
  max_replication_slots: 32,
  max_connections: 200,
  max_prepared_transactions: 16,
  fsync: 'off',
  full_page_writes: 'off',
  synchronous_commit: 'on',
  shared_buffers: '64MB',
}

/** Starts a server on a free port and resolves when it accepts connections. Takes about a second. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const major = options.major ?? 18
  const user = serverUser()
  const binaries = findBinaries(major, user)
  const decoders = options.withDecoders === true ? await decodersFor(major, user) : undefined
  const server = new EmbeddedServer(major, user, binaries, decoders, options)
  try {
    if (options.standbyOf === undefined) await server.initialise(options.initdbArgs ?? [])
    else await server.copy(options.standbyOf)
    await server.startOnFreePort()
  } catch (error) {
    await server[Symbol.asyncDispose]()
    throw error
  }
  return server
}

/** What a server needs to have a decoder's output plugin: pgoutput is in every one. */
export function serverFor(decoder: DecoderName): Required<Pick<PostgresOptions, 'major' | 'withDecoders'>> {
  return decoder === 'pgoutput'
    ? { major: 18, withDecoders: false }
    : { major: DECODERS_MAJOR, withDecoders: true }
}

/** Creates an empty database and returns its URL. */
export async function createDatabase(
  server: Pick<PostgresServer, 'url'>,
  name = `db_${Math.random().toString(36).slice(2, 10)}`,
): Promise<string> {
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  try {
    await client.query(`create database ${client.escapeIdentifier(name)}`)
  } finally {
    await client.end()
  }
  const url = new URL(server.url)
  url.pathname = `/${encodeURIComponent(name)}`
  return url.href
}

async function decodersFor(major: Major, user: ServerUser): Promise<Decoders> {
  if (major !== DECODERS_MAJOR)
    throw new Error(`wal2json and decoderbufs are to be had for Postgres ${DECODERS_MAJOR}, not ${major}.`)
  const found = await findDecoders()
  if ('missing' in found) throw new Error(`wal2json and decoderbufs are missing: ${found.missing}`)
  if (found.folder === undefined || canReach(user, found.folder)) return found
  const target = join(reachableTemporaryFolder(user), `walcache-decoders-15-${process.arch}`)
  return found.movedTo(readableCopy(found.folder, target))
}

/** Postgres tells this, and not an exit code of its own, when another program took the port. */
const portTaken = (log: string): boolean => /could not bind|could not create any TCP\/IP sockets/.test(log)

/** Folders of this process's servers. A running server's holder deletes its own; this is for the stopped ones. */
const folders = new Set<string>()
process.once('exit', () => folders.forEach(dropFolder))

function dropFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  folders.delete(folder)
}

class EmbeddedServer implements PostgresServer {
  readonly host = HOST
  readonly dataDirectory: string
  readonly #folder: string
  readonly #environment: NodeJS.ProcessEnv
  #port = 0
  #holder: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #pid: number | undefined
  #log = ''

  constructor(
    readonly major: Major,
    readonly user: ServerUser,
    readonly binaries: Binaries,
    readonly decoderFiles: Decoders | undefined,
    readonly options: PostgresOptions,
  ) {
    this.#folder = mkdtempSync(join(reachableTemporaryFolder(user), `walcache-pg${major}-`))
    this.dataDirectory = join(this.#folder, 'data')
    const links = join(this.#folder, 'lib')
    mkdirSync(links)
    for (const { name, file } of binaries.links) symlinkSync(file, join(links, name))
    if (user.uid !== undefined && user.gid !== undefined) {
      chownSync(this.#folder, user.uid, user.gid)
      chownSync(links, user.uid, user.gid)
    }
    const libraryPath = [links, binaries.libraries, ...(decoderFiles?.libraries ?? [])].join(':')
    this.#environment = {
      PATH: process.env['PATH'],
      LC_ALL: 'C',
      TZ: 'UTC',
      [process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH']: libraryPath,
    }
    folders.add(this.#folder)
  }

  get version(): string {
    return this.binaries.version.replace(/^(\d+\.\d+).*/, '$1')
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    return `postgres://postgres@${HOST}:${this.#port}/postgres`
  }

  get pid(): number | undefined {
    return this.#pid
  }

  get logTail(): string {
    return this.#log
  }

  get decoders(): readonly DecoderName[] {
    return this.decoderFiles === undefined ? ['pgoutput'] : ['pgoutput', 'wal2json', 'decoderbufs']
  }

  async initialise(initdbArgs: readonly string[]): Promise<void> {
    const args = [
      '-D',
      this.dataDirectory,
      '-U',
      'postgres',
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--locale=C',
      '--no-sync',
    ]
    const options = { ...this.user, env: this.#environment, cwd: this.#folder }
    try {
      await promisify(execFile)(this.binaries.initdb, [...args, ...initdbArgs], options)
    } catch (cause) {
      const { message, stderr } = cause as Error & { stderr?: string }
      throw new Error(`initdb of Postgres ${this.version} failed: ${stderr ?? message}`, { cause })
    }
  }

  /** Takes the data of a stopped server, to follow that one. */
  async copy(primary: PostgresServer): Promise<void> {
    if (primary.pid !== undefined) throw new Error('The server is running: stop it before copying it.')
    const options = { ...this.user, env: this.#environment, cwd: this.#folder }
    await promisify(execFile)('cp', ['-R', '-p', primary.dataDirectory, this.dataDirectory], options)
    await promisify(execFile)('touch', [join(this.dataDirectory, 'standby.signal')], options)
  }

  async startOnFreePort(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.#port = await freePort()
      try {
        return await this.start()
      } catch (error) {
        // Between finding the port and binding it another program may have taken it.
        if (attempt === PORT_ATTEMPTS || !portTaken(this.#log)) throw error
        this.#log = ''
      }
    }
  }

  async start(): Promise<void> {
    if (this.#holder !== undefined)
      throw new Error('This server is running: stop it before starting it again.')
    rmSync(join(this.dataDirectory, 'postmaster.pid'), { force: true })
    const holder = spawn(
      '/bin/sh',
      ['-c', HOLDER, 'sh', this.#folder, this.binaries.postgres, ...this.#arguments()],
      {
        ...this.user,
        env: this.#environment,
        cwd: '/',
        stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      },
    )
    this.#holder = holder
    holder.stderr?.setEncoding('utf8').on('data', (text: string) => this.#takeLog(text))
    // The pipe breaks when the holder ends; its exit tells us so already.
    holder.stdio[3]?.on('error', () => undefined)
    this.#exited = new Promise(resolve => {
      const ended = (): void => {
        this.#holder = undefined
        this.#pid = undefined
        resolve()
      }
      // The watcher's cat holds the other end of the pipe; without this "close" would not come.
      holder.once('exit', () => holder.stdio[3]?.destroy()).once('close', ended)
      holder.once('error', error => {
        this.#takeLog(String(error))
        ended()
      })
    })
    await this.#ready()
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    if (this.#holder === undefined) return
    this.#signal(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
    if (mode === 'fast') {
      await Promise.race([this.#exited, sleep(FAST_STOP_MS, undefined, { ref: false })])
      this.#signal('SIGQUIT')
    }
    await this.#exited
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode)
    await this.start()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    dropFolder(this.#folder)
  }

  #arguments(): string[] {
    const settings: Record<string, string | number> = {
      ...defaultSettings,
      ...(this.decoderFiles && { dynamic_library_path: `$libdir:${this.decoderFiles.plugins}` }),
      ...(this.options.standbyOf && {
        primary_conninfo: `host=${HOST} port=${this.options.standbyOf.port} user=postgres dbname=postgres`,
        hot_standby_feedback: 'on',
      }),
      ...this.options.settings,
      port: this.#port,
      listen_addresses: HOST,
      // A socket's path may have 107 bytes and temporary folders may be long: TCP only.
      unix_socket_directories: '',
    }
    return [
      '-D',
      this.dataDirectory,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ]
  }

  async #ready(): Promise<void> {
    const deadline = Date.now() + READY_MS
    // pg_isready is not among the programs; the pid file's eighth line says the same.
    for (let status = this.#pidFile(); status[7]?.trim() !== 'ready'; status = this.#pidFile()) {
      if (this.#holder === undefined) throw new Error(`Postgres ${this.version} did not start:\n${this.#log}`)
      if (Date.now() > deadline) {
        this.#pid = Number(status[0]) || undefined
        await this.stop('immediate')
        throw new Error(`Postgres ${this.version} was not ready after ${READY_MS} ms:\n${this.#log}`)
      }
      await sleep(10)
    }
    this.#pid = Number(this.#pidFile()[0])
  }

  #pidFile(): string[] {
    try {
      return readFileSync(join(this.dataDirectory, 'postmaster.pid'), 'utf8').split('\n')
    } catch {
      return []
    }
  }

  #signal(signal: 'SIGINT' | 'SIGQUIT'): void {
    // The holder waits for the postmaster, so while it runs the number cannot have passed to another process.
    if (this.#holder === undefined) return
    if (this.#pid === undefined) this.#holder.stdio[3]?.destroy()
    else process.kill(this.#pid, signal)
  }

  #takeLog(text: string): void {
    this.#log = (this.#log + text).slice(-LOG_TAIL_CHARS)
    this.options.log?.(text)
  }
}

/**
 * Runs the server ("$@") until it ends, or until descriptor 3, whose other end only the parent has, is closed: then the
 * server is stopped, harder after five seconds, and its folder ($1) deleted, since nobody is left to do it.
 */
const HOLDER = `
folder=$1; shift
"$@" & server=$!
(
  cat <&3 >/dev/null
  : >"$folder/orphaned"
  kill -INT $server
  tenths=0
  while [ $tenths -lt 50 ]; do
    kill -0 $server || exit
    sleep 0.1
    tenths=$((tenths + 1))
  done
  kill -QUIT $server
) >/dev/null 2>&1 & watcher=$!
wait $server; status=$?
kill $watcher 2>/dev/null
[ -e "$folder/orphaned" ] && rm -rf "$folder"
exit $status
`

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject)
    probe.listen(0, HOST, () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
