/** One web server, in a process of its own: main.ts starts two of them, and hands them their connections. */
import type { Socket } from 'node:net'
import { type App, startApp } from './start.js'

const name = process.argv[2]!
const url = process.argv[3]!

const app: App = await startApp({ name, url })
await app.fastify.ready()

// main.ts listens, so that nobody is refused while this process is replaced by another.
process.on('message', (_message, socket: Socket | undefined) => {
  // The browser may have gone meanwhile.
  if (socket === undefined) return
  app.fastify.server.emit('connection', socket)
  socket.resume()
})
process.send!('ready')

let isStopping = false
function stop(): void {
  if (isStopping) return
  isStopping = true
  if (process.connected) process.send!('stopping')
  void app.close().finally(() => process.exit())
}
process.on('SIGTERM', stop)
process.on('disconnect', stop)
// Ctrl-C goes to all processes of the terminal; main.ts ends this one.
process.on('SIGINT', () => undefined)
