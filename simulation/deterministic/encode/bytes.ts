/** A buffer that grows: what the encoders write into. */
export class Bytes {
  #buffer = Buffer.allocUnsafe(4096)
  #at = 0

  reset(): void {
    this.#at = 0
  }

  get length(): number {
    return this.#at
  }

  uint8(value: number): this {
    this.#room(1)
    this.#buffer[this.#at++] = value
    return this
  }

  uint16(value: number): this {
    this.#room(2)
    this.#at = this.#buffer.writeUInt16BE(value, this.#at)
    return this
  }

  uint32(value: number): this {
    this.#room(4)
    this.#at = this.#buffer.writeUInt32BE(value >>> 0, this.#at)
    return this
  }

  /** A whole number below 2^53, in eight bytes. */
  uint64(value: number): this {
    return this.uint32(Math.floor(value / 0x1_0000_0000)).uint32(value % 0x1_0000_0000)
  }

  int64(value: bigint): this {
    this.#room(8)
    this.#at = this.#buffer.writeBigInt64BE(value, this.#at)
    return this
  }

  text(value: string): this {
    // Three bytes a unit are the most that UTF-8 takes.
    this.#room(value.length * 3)
    this.#at += this.#buffer.write(value, this.#at, 'utf8')
    return this
  }

  /** A text with its length in front, in four bytes. */
  counted(value: string): this {
    const at = this.#at
    this.uint32(0).text(value)
    this.#buffer.writeUInt32BE(this.#at - at - 4, at)
    return this
  }

  /** A text that ends with a zero byte. */
  zeroEnded(value: string): this {
    return this.text(value).uint8(0)
  }

  /** Protobuf's variable-length number. */
  varint(value: bigint): this {
    let left = BigInt.asUintN(64, value)
    while (left > 0x7fn) {
      this.uint8(Number(left & 0x7fn) | 0x80)
      left >>= 7n
    }
    return this.uint8(Number(left))
  }

  /** The same of a whole number that is not negative, below 2^53. */
  small(value: number): this {
    let left = value
    while (left > 0x7f) {
      this.uint8((left % 0x80) | 0x80)
      left = Math.floor(left / 0x80)
    }
    return this.uint8(left)
  }

  bytes(value: Uint8Array): this {
    this.#room(value.length)
    this.#buffer.set(value, this.#at)
    this.#at += value.length
    return this
  }

  /** What was written since `reset`, until more is written. */
  get written(): Uint8Array {
    return this.#buffer.subarray(0, this.#at)
  }

  /** What was written since `reset`, to keep. */
  copy(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at))
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes))
    this.#buffer.copy(larger, 0, 0, this.#at)
    this.#buffer = larger
  }
}
