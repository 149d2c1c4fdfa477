/** On a terminal one line that changes, else now and then a line of its own. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream
  readonly #intervalMs: number
  #toldMs = Number.NEGATIVE_INFINITY
  #isOpen = false

  constructor(stream: NodeJS.WriteStream = process.stdout) {
    this.#stream = stream
    this.#intervalMs = stream.isTTY ? TERMINAL_MS : PLAIN_MS
  }

  show(line: string): void {
    const nowMs = performance.now()
    if (nowMs - this.#toldMs < this.#intervalMs) return
    this.#toldMs = nowMs
    if (!this.#stream.isTTY) {
      this.#stream.write(`  ${line}\n`)
      return
    }
    this.#isOpen = true
    // Beyond the terminal's width a line could not be taken back.
    this.#stream.write(`\r${CLEAR_LINE}${line.slice(0, this.#stream.columns - 1)}`)
  }

  /** What is written next begins a line. */
  end(): void {
    if (this.#isOpen) this.#stream.write(`\r${CLEAR_LINE}`)
    this.#isOpen = false
  }
}

const TERMINAL_MS = 200
const PLAIN_MS = 10_000
const CLEAR_LINE = '\u001b[K'
