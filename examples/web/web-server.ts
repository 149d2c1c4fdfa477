import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'

const HOST = '127.0.0.1'
const WAITING_MAX = 200
/** Whoever dies sooner than this after it was ready would die again. */
const LIFE_MIN_MS = 1_000

/** An address, and the process that answers there: replaced when it ends, while whoever connects waits. */
export class WebServer {
  readonly #listener: Server
  readonly #waiting: Socket[] = []
  #process: ChildProcess | undefined
  #isReady = false
  #isClosing = false

  private constructor(
    readonly name: string,
    readonly databaseUrl: string,
  ) {
    // Connections are not read from here: their bytes are for the process.
    this.#listener = createServer({ pauseOnConnect: true }, socket => this.#hand(socket))
  }

  static async start(name: string, databaseUrl: string): Promise<WebServer> {
    const server = new WebServer(name, databaseUrl)
    await server.#startProcess()
    server.#listener.listen(0, HOST)
    await once(server.#listener, 'listening')
    return server
  }

  get url(): string {
    return `http://${HOST}:${(this.#listener.address() as AddressInfo).port}`
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  async close(): Promise<void> {
    this.#isClosing = true
    this.#listener.close()
    for (const socket of this.#waiting) socket.destroy()
    const ending = this.#process
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    ending.kill('SIGTERM')
    await once(ending, 'exit')
  }

  async #startProcess(): Promise<void> {
    const child = fork(join(import.meta.dirname, 'server.ts'), [this.name, this.databaseUrl], {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, TSX_TSCONFIG_PATH: join(import.meta.dirname, 'tsconfig.json') },
    })
    this.#process = child
    const isReady = await Promise.race([
      once(child, 'message').then(() => true),
      once(child, 'exit').then(() => false),
    ])
    if (!isReady) throw new Error(`${this.name} ended while it started.`)
    const readyAt = performance.now()
    // Whoever comes from then on waits for its successor.
    child.on('message', () => (this.#isReady = false))
    child.once('exit', () => {
      this.#isReady = false
      if (this.#isClosing) return
      if (performance.now() - readyAt < LIFE_MIN_MS) console.error(`${this.name} has ended at once.`)
      else this.#startProcess().catch((error: unknown) => console.error(error))
    })
    this.#isReady = true
    for (const socket of this.#waiting.splice(0)) this.#hand(socket)
  }

  #hand(socket: Socket): void {
    if (this.#isReady) this.#process!.send('connection', socket)
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push(socket)
    else socket.destroy()
  }
}
