/** The example as a person sees it: two users, two servers, one headless Chromium. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findChromium } from '../../scripts/chromium.js'

const root = join(import.meta.dirname, '../..')
const PATIENCE_MS = 60_000
/** Both of its users follow it, and are of its team. */
const DOCUMENT = 130
/** Pictures of the pages, to be looked at. */
const PICTURES = process.env['WALCACHE_SCREENSHOTS']

interface Address {
  readonly url: string
  readonly pid: number
}

let example: ChildProcess
let browser: Browser | undefined
const servers: Address[] = []
/** What a page has complained of: there must be nothing. */
const complaints: string[] = []
let missing: string | undefined

beforeAll(async () => {
  const found = await findChromium()
  if ('missing' in found) {
    if (process.env['CI'] === 'true') throw new Error(`There is no Chromium: ${found.missing}`)
    missing = found.missing
    return
  }
  example = spawn(process.execPath, ['--import', 'tsx', 'examples/web/main.ts'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: example.stdout! })) {
    const address = /^Server \w: (\S+) \(process (\d+)\)$/.exec(line)
    if (address !== null) servers.push({ url: address[1]!, pid: Number(address[2]) })
    if (servers.length === 2) break
  }
  // The page is the project's own; a container may allow no sandbox.
  browser = await chromium.launch({
    executablePath: found.program,
    args: ['--no-sandbox'],
    env: { ...process.env, LD_LIBRARY_PATH: found.libraries.join(':') },
  })
}, 180_000)

afterAll(async () => {
  await browser?.close()
  if (example === undefined || example.exitCode !== null) return
  example.kill('SIGINT')
  await once(example, 'exit')
  expect(example.exitCode).toBe(0)
})

async function openPage(server: number, user: number, document: number): Promise<Page> {
  const context = await browser!.newContext({ viewport: { width: 1360, height: 900 } })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE_MS)
  page.on('console', message => {
    if (message.type() === 'error') complaints.push(`console: ${message.text()} ${message.location().url}`)
  })
  page.on('pageerror', error => complaints.push(String(error)))
  await page.goto(`${new URL(servers[server]!.url).origin}/?as=${user}#${document}`)
  await page.waitForSelector('#link[data-state=live]')
  await page.waitForSelector('#comments li')
  return page
}

/** Milliseconds from the click to the comment in the other browser. */
async function say(text: string, from: Page, to: Page): Promise<number> {
  await from.fill('#text', text)
  const started = performance.now()
  const arrives = to.waitForSelector(`#comments p:text-is("${text}")`)
  await from.click('#form button')
  try {
    await arrives
  } catch (cause) {
    const states = await Promise.all([from, to].map(stateOf))
    throw new Error(`"${text}" did not arrive. ${[...states, ...complaints].join('; ')}`, { cause })
  }
  return performance.now() - started
}

/** What a page shows, for the message of a test that has failed. */
async function stateOf(page: Page): Promise<string> {
  const texts = ['#link', '#note', '#count', '#position', '#staleness', '#last'].map(
    async place => `${place} ${await page.textContent(place)}`,
  )
  return (await Promise.all(texts)).join(', ')
}

async function take(page: Page, name: string): Promise<void> {
  if (PICTURES === undefined) return
  mkdirSync(PICTURES, { recursive: true })
  await page.screenshot({ path: join(PICTURES, `${name}.png`) })
}

test('two users on two servers see each other’s comments, and a restart of one server', async ({ skip }) => {
  if (missing !== undefined) skip(`there is no Chromium: ${missing}`)
  // Users 1 and 11 are of one team, and so both may comment on its documents.
  const [one, other] = [await openPage(0, 1, DOCUMENT), await openPage(1, 11, DOCUMENT)]
  const times: number[] = []
  for (let round = 0; round < 5; round++) {
    times.push(await say(`One says ${round}`, one, other))
    times.push(await say(`The other says ${round}`, other, one))
  }
  console.log(`From the click to the other browser: ${times.map(ms => Math.round(ms)).join(', ')} ms`)
  await take(one, 'document')

  // He looks at something else: what is said meanwhile is counted for him.
  const badge = `#documents [data-document="${DOCUMENT}"] .badge`
  await other.click(`#documents button:not([data-document="${DOCUMENT}"])`)
  await expect.poll(() => other.textContent(badge)).toBe('')
  await one.fill('#text', 'Unread')
  await one.click('#form button')
  await expect.poll(() => other.textContent(badge), { timeout: PATIENCE_MS }).toBe('1')
  await take(other, 'unread')

  // Server B is replaced; whoever has its page open need not do anything.
  process.kill(servers[1]!.pid, 'SIGTERM')
  await other.waitForSelector('#link[data-state=reconnecting]')
  await say('While the other server starts', one, one)
  await other.waitForSelector('#link[data-state=live]')
  await expect.poll(() => other.textContent(badge), { timeout: PATIENCE_MS }).toBe('2')
  await other.click(`#documents [data-document="${DOCUMENT}"]`)
  await other.waitForSelector('#comments p:text-is("While the other server starts")')
  await say('After the restart', other, one)
  await expect.poll(() => other.textContent(badge), { timeout: PATIENCE_MS }).toBe('')
  await take(other, 'after-restart')
  expect(complaints).toEqual([])
}, 180_000)
