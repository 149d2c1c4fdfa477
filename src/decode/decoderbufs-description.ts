import { readFile } from 'node:fs/promises'
import type protobuf from 'protobufjs'

/** A message's field numbers, by name. */
type Fields<Name extends string> = Readonly<Record<Name, number>>

/** What proto/decoderbufs.proto says. */
export interface Description {
  readonly row: Fields<'transactionId' | 'commitTime' | 'table' | 'op' | 'newTuple' | 'oldTuple'>
  readonly datum: Fields<
    | 'columnName'
    | 'columnType'
    | 'datumInt32'
    | 'datumInt64'
    | 'datumFloat'
    | 'datumDouble'
    | 'datumBool'
    | 'datumString'
    | 'datumBytes'
    | 'datumPoint'
    | 'datumMissing'
  >
  readonly point: Fields<'x' | 'y'>
  readonly op: Fields<'INSERT' | 'UPDATE' | 'DELETE' | 'BEGIN' | 'COMMIT'>
}

/** Loads `protobufjs` and the description of the messages. Only its reader is used, which makes no code at run time. */
export async function loadDescription(): Promise<{
  readonly description: Description
  readonly Reader: typeof protobuf.Reader
}> {
  const file = new URL('../../proto/decoderbufs.proto', import.meta.url)
  const [{ default: library }, text] = await Promise.all([import('protobufjs'), readFile(file, 'utf8')])
  const { root } = library.parse(text)
  const fields = (name: string): Record<string, number> =>
    Object.fromEntries(
      root.lookupType(`walcache.decoderbufs.${name}`).fieldsArray.map(({ name: field, id }) => [field, id]),
    )
  const description: unknown = {
    row: fields('RowMessage'),
    datum: fields('DatumMessage'),
    point: fields('Point'),
    op: root.lookupEnum('walcache.decoderbufs.Op').values,
  }
  return { description: description as Description, Reader: library.Reader }
}
