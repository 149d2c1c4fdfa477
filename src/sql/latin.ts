import { compileFunction } from 'node:vm'

type Slice = (this: Uint8Array, start: number, end: number) => string
type Make = (bytes: Uint8Array, start: number) => string

/** What `toString('latin1', ...)` calls, after looking at its arguments for as long as the call itself takes; not in the type declarations. */
const { latin1Slice } = Buffer.prototype as unknown as { readonly latin1Slice: Slice }

/** Texts up to this length are made without a call into Buffer: of 8 bytes in a third of its time, of 20 in half. From 32 on they would take longer. */
const SHORT_MAX = 24

/** For each length a function that names all its bytes, since V8 makes a text of a known number of units at once. */
const makeShort: readonly Make[] = Array.from({ length: SHORT_MAX + 1 }, (_, length) => {
  const units = Array.from({ length }, (_unit, i) => `bytes[start + ${i}]`)
  return compileFunction(`return String.fromCharCode(${units.join(', ')})`, ['bytes', 'start']) as Make
})

/** The text of bytes that each stand for the character of that number. Hot: once per cold read. */
export function latin(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start
  return length <= SHORT_MAX ? makeShort[length]!(bytes, start) : latin1Slice.call(bytes, start, end)
}
