import { compileFunction } from 'node:vm'
import { TEXT, type TupleView } from '../change/change.js'
import type { TableMapping } from './mapping.js'
import { integerOf } from '../sql/compare-bytes.js'
import { latin } from '../sql/latin.js'
import { parsesInteger } from './integer-parser.js'
import { freezePlainData, isPrimitive } from './plain-data.js'

type Row = Record<string, unknown>
type Parse = (text: string) => unknown

/** A decoded row as it may be kept: hand it to `RowFactory.read` for the row itself. */
export type Decoded = object

/** Turns a table's stored texts into rows. */
export interface RowFactory {
  /**
   * The row that `view` holds, in a form that may be kept and read many times.
   *
   * `view` has the mapping's columns in their order, each `NULL` or `TEXT`; its `bytes` are a Buffer, and its values
   * lie in one run of bytes. `ascii` says that every byte of every value is below 0x80. Each text is parsed once.
   *
   * @throws whatever the caller's own type parser throws.
   */
  decode(view: TupleView, ascii: boolean): Decoded
  /** The row to hand out: `decoded` itself if nothing in it can be changed, else a new one. Frozen either way. */
  read(decoded: Decoded): object
  /** True as long as `read` would return every row decoded so far as it is: a reader may then skip it. */
  readonly shared: boolean
}

/**
 * Rows of `mapping`, as the caller's own `pg` would have SELECTed them: own enumerable data properties in SELECT
 * order, with the mapping's prototype. No constructor, setter or field initialiser of the class runs.
 *
 * Values are shared between readers where that is safe. A Date, a Buffer or an object of a custom parser can't be
 * frozen, so it is made anew for each read; so is a row that the declaration's `construct` makes.
 */
export function createRowFactory(mapping: TableMapping): RowFactory {
  return new PreparedRowFactory(mapping)
}

class PreparedRowFactory implements RowFactory {
  shared: boolean
  readonly #count: number
  readonly #names: readonly string[]
  readonly #parsers: readonly Parse[]
  /** Columns whose values are made of their bytes. */
  readonly #integers: readonly boolean[]
  /** Positions of all other columns. */
  readonly #texts: readonly number[]
  /** Whether the prototype has a property of that name, so that assigning would not define an own one. */
  readonly #inherited: readonly boolean[]
  readonly #Blank: new () => Row
  /** Makes a row of its values; null if properties have to be defined one by one. */
  readonly #Row: (new (values: readonly unknown[]) => Row) | null
  readonly #construct: TableMapping['construct']
  /** The values of the row being decoded. */
  readonly #values: unknown[]

  constructor({ columns, prototype, construct }: TableMapping) {
    const rowPrototype = construct === null ? (prototype ?? Object.prototype) : Object.prototype
    this.shared = construct === null
    this.#count = columns.length
    this.#names = columns.map(column => column.property)
    this.#parsers = columns.map(column => column.parse)
    this.#integers = columns.map(({ parse, baseTypeOid }) => parsesInteger(parse, baseTypeOid))
    this.#inherited = columns.map(column => column.property in rowPrototype)
    this.#texts = columns.flatMap((_, i) => (this.#integers[i] ? [] : [i]))
    this.#Blank = blankWith(rowPrototype)
    this.#Row = this.#inherited.includes(true) ? null : rowWith(rowPrototype, this.#names)
    this.#construct = construct
    this.#values = columns.map(() => null)
  }

  // Hot: once per cold read.
  decode(view: TupleView, ascii: boolean): Decoded {
    const { kinds, starts, ends } = view
    const count = this.#count
    const bytes = view.bytes as Buffer
    const values = this.#values
    const parsers = this.#parsers
    const integers = this.#integers
    let runStart = 0
    let run = ''
    if (ascii) {
      const texts = this.#texts
      let runEnd = 0
      runStart = bytes.length
      for (let t = 0; t < texts.length; t++) {
        const i = texts[t]!
        if (kinds[i] !== TEXT) continue
        if (starts[i]! < runStart) runStart = starts[i]!
        if (ends[i]! > runEnd) runEnd = ends[i]!
      }
      // One string for the row, and substrings of it: what a call into Buffer costs, a substring costs a tenth of.
      if (runEnd > 0) run = latin(bytes, runStart, runEnd)
    }
    let makers: Maker[] | null = null
    for (let i = 0; i < count; i++) {
      if (kinds[i] !== TEXT) {
        values[i] = null
        continue
      }
      const start = starts[i]!
      const end = ends[i]!
      if (integers[i]) {
        values[i] = integerOf(bytes, start, end)
        continue
      }
      // Buffer's utf8 keeps a leading U+FEFF, which a TextDecoder would drop.
      const text = ascii
        ? run.substring(start - runStart, end - runStart)
        : bytes.toString('utf8', start, end)
      const value = parsers[i]!(text)
      values[i] = value
      if (!isPrimitive(value) && !freezePlainData(value)) {
        makers ??= []
        makers[i] = makerOf(value, parsers[i]!, text)
      }
    }
    if (makers === null && this.#construct === null) return this.#row(values)
    this.shared = false
    return new PerRead(values.slice(), makers)
  }

  // Hot: once per read of a table with values that can't be shared.
  read(decoded: Decoded): object {
    if (!(decoded instanceof PerRead)) return decoded
    const { values, makers } = decoded
    const row = makers === null ? this.#row(values) : this.#freshRow(values, makers)
    return this.#construct === null ? row : this.#construct(row)
  }

  #row(values: readonly unknown[]): Row {
    if (this.#Row !== null) return Object.freeze(new this.#Row(values))
    const row = new this.#Blank()
    const names = this.#names
    const inherited = this.#inherited
    for (let i = 0; i < names.length; i++) {
      if (inherited[i]) define(row, names[i]!, values[i])
      else row[names[i]!] = values[i]
    }
    return Object.freeze(row)
  }

  #freshRow(values: readonly unknown[], makers: readonly (Maker | undefined)[]): Row {
    const row = new this.#Blank()
    const names = this.#names
    const inherited = this.#inherited
    for (let i = 0; i < names.length; i++) {
      const maker = makers[i]
      const value = maker === undefined ? values[i] : maker.make()
      if (inherited[i]) define(row, names[i]!, value)
      else row[names[i]!] = value
    }
    return Object.freeze(row)
  }
}

/** A decoded row of which something must be made anew for each reader. */
class PerRead {
  constructor(
    readonly values: readonly unknown[],
    /** Who makes the value of a column, undefined where it is shared; null if everything is. */
    readonly makers: readonly (Maker | undefined)[] | null,
  ) {}
}

/** Makes a value that no other reader holds. */
interface Maker {
  make(): unknown
}

function makerOf(value: object, parse: Parse, text: string): Maker {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Date.prototype && Reflect.ownKeys(value).length === 0)
    return new DateMaker((value as Date).getTime())
  if (prototype === Buffer.prototype) return new BufferMaker(value as Buffer)
  return new ParsingMaker(parse, text)
}

class DateMaker implements Maker {
  constructor(readonly epochMs: number) {}
  make(): Date {
    return new Date(this.epochMs)
  }
}

class BufferMaker implements Maker {
  readonly bytes: Buffer
  constructor(parsed: Buffer) {
    this.bytes = ownCopy(parsed)
  }
  make(): Buffer {
    return ownCopy(this.bytes)
  }
}

class ParsingMaker implements Maker {
  constructor(
    readonly parse: Parse,
    readonly text: string,
  ) {}
  make(): unknown {
    return this.parse(this.text)
  }
}

/** Constructs Buffers as `Buffer.prototype.slice` of a typed array does: each in memory of its own. */
const OwnBuffer = (Buffer as unknown as { readonly [Symbol.species]: new (bytes: Uint8Array) => Buffer })[
  Symbol.species
]

/** A copy in memory of its own: Buffer.from would take a piece of the slab that all small Buffers share. */
function ownCopy(bytes: Buffer): Buffer {
  return new OwnBuffer(bytes)
}

/**
 * A constructor of empty objects with this prototype. Its instances soon have room for all columns within the object,
 * and one hidden class a table; Object.create and spreading a template measured slower, above all with the freeze.
 */
function blankWith(prototype: object): new () => Row {
  const Blank = function () {} as unknown as new () => Row
  Blank.prototype = prototype
  return Blank
}

/**
 * A constructor of rows with this prototype and these properties, in their order. Its source names them, since V8 makes an object whose properties
 * are known when it compiles in a quarter of the time. Names are the only thing in it that is not ours, each as a JSON text: a string literal.
 */
function rowWith(prototype: object, names: readonly string[]): new (values: readonly unknown[]) => Row {
  const assignments = names.map((name, i) => `this[${JSON.stringify(name)}] = values[${i}]`)
  const source = `return function (values) { ${assignments.join('; ')} }`
  const WithRow = (compileFunction(source) as () => new (values: readonly unknown[]) => Row)()
  WithRow.prototype = prototype
  return WithRow
}

function define(row: Row, name: string, value: unknown): void {
  Object.defineProperty(row, name, { value, writable: true, enumerable: true, configurable: true })
}
