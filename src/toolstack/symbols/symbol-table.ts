/**
 * Names of a kernel's functions by address, out of the symbol table of its ELF file. The table is a stranger's: indices
 * are checked, names are cut, and what does not fit is left out. A stripped kernel has none.
 * Reference: System V ABI, "Symbol Table"; structs Elf64_Sym and Elf32_Sym.
 */
import { XenError, overlay, shape, signedFromParts, u16, u32, u64, u8, type StateOf } from '../../util/index.ts'
import { parseElfSections, type ElfSection } from '../image/elf.ts'

const Symbol64 = /* @__PURE__ */ overlay(24, { name: u32(0), info: u8(4), other: u8(5), section: u16(6), value: u64(8), length: u64(16) })
const Symbol32 = /* @__PURE__ */ overlay(16, { name: u32(0), value: u32(4), length: u32(8), info: u8(12), other: u8(13), section: u16(14) })

const SECTION_SYMBOLS = 2
/** STT_NOTYPE, which labels in assembler have, and STT_FUNC. */
const TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([0, 2])
/** Symbols that are looked at; kernels have some 200,000. */
const MAX_SYMBOLS = 1 << 20
const MAX_NAME = 120
/** Bytes of names that are kept for as long as the domain lives; kernels have some 4 MiB. */
const MAX_STRINGS = 32 << 20
/** An address so far behind a symbol without a size is no longer its. */
const REACH = 1 << 16

/** Where an address lies. */
export interface SymbolPlace {
  readonly name: string
  /** Bytes behind the symbol. */
  readonly offset: number
  /** Bytes of the function; 0 where the table does not say. */
  readonly size: number
}

/** What knows functions by address, wherever it has them from. */
export interface SymbolLookup {
  /** The function that holds an address (a signed number); undefined when none does. */
  find(address: number): SymbolPlace | undefined
  /** Where a function of a name begins, a signed number; undefined where there is none. */
  addressOf(name: string): number | undefined
}

/** A function of a kernel. */
export interface NamedFunction {
  /** A signed number. */
  readonly address: number
  readonly name: string
  /** Bytes up to the next. */
  readonly size: number
}

/** The two sections that names come from, copied out of the file so that the rest of it can go. */
interface SymbolSections {
  readonly symbols: Uint8Array
  readonly strings: Uint8Array
  /** Whether each section of the file holds code. */
  readonly isCode: readonly boolean[]
}

/** A table as plain data. */
export const symbolTableState = /* @__PURE__ */ shape.record<SymbolSections>({
  symbols: /* @__PURE__ */ shape.array(Uint8Array, 0, MAX_SYMBOLS * 24), strings: /* @__PURE__ */ shape.array(Uint8Array, 0, MAX_STRINGS),
  isCode: /* @__PURE__ */ shape.list(shape.flag, 1 << 16),
})

/** Functions by address. The table is sorted when it is first asked. */
export class SymbolTable {
  private readonly sections: SymbolSections
  private byName: ReadonlyMap<string, number> | undefined
  private sorted: { readonly addresses: Float64Array; readonly places: Uint32Array } | undefined

  /** A table never changes. */
  private saved: StateOf<typeof symbolTableState> | undefined

  private constructor(sections: SymbolSections) {
    this.sections = sections
  }

  /** A table that was saved. */
  static from(saved: StateOf<typeof symbolTableState>): SymbolTable {
    return new SymbolTable(saved)
  }

  save(): StateOf<typeof symbolTableState> {
    this.saved ??= { symbols: this.sections.symbols.slice(), strings: this.sections.strings.slice(), isCode: [...this.sections.isCode] }
    return this.saved
  }

  /** The table of an ELF file; undefined when it has none. Throws INVALID_IMAGE for what is no ELF file. */
  static of(file: Uint8Array): SymbolTable | undefined {
    const { bits, sections } = parseElfSections(file)
    const table = sections.find(({ type }) => type === SECTION_SYMBOLS)
    const strings: ElfSection | undefined = table === undefined ? undefined : sections[table.link]
    if (table === undefined || strings === undefined || table.bytes.length < Symbol32.size) return undefined
    // Files may be Buffers of Node's, whose slices are views.
    const symbols = bits === 64 ? new Uint8Array(table.bytes.subarray(0, MAX_SYMBOLS * Symbol64.size)) : widened(table.bytes.subarray(0, MAX_SYMBOLS * Symbol32.size))
    return new SymbolTable({
      symbols, strings: new Uint8Array(strings.bytes.subarray(0, MAX_STRINGS)), isCode: sections.map(({ isExecutable }) => isExecutable),
    })
  }

  /** The same for a file whose only use are its symbols. Throws INVALID_IMAGE when there are none. */
  static required(file: Uint8Array): SymbolTable {
    const table = SymbolTable.of(file)
    if (table !== undefined) return table
    throw new XenError('INVALID_IMAGE', 'symbols: the ELF file has no symbol table', { details: { field: 'symbols' } })
  }

  /** Bytes that the table keeps. */
  get held(): number {
    return this.sections.symbols.length + this.sections.strings.length
  }

  /** The function that holds an address (a signed number); undefined when none does. */
  find(address: number): SymbolPlace | undefined {
    const { addresses, places } = (this.sorted ??= this.sort())
    let low = 0
    let high = addresses.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (addresses[middle]! <= address) low = middle + 1
      else high = middle
    }
    if (low === 0) return undefined
    const at = places[low - 1]!
    const size = Symbol64.length.number(this.view, at)
    const offset = address - addresses[low - 1]!
    if (size > 0 ? offset >= size : offset >= REACH) return undefined
    return { name: this.nameAt(Symbol64.name.get(this.view, at)), offset, size }
  }

  /** Where a function of a name begins, a signed number; undefined where there is none. Of several the one at the lowest address. */
  addressOf(name: string): number | undefined {
    if (this.byName === undefined) {
      const { addresses, places } = (this.sorted ??= this.sort())
      const found = new Map<string, number>()
      for (let i = places.length - 1; i >= 0; i -= 1) found.set(this.nameAt(Symbol64.name.get(this.view, places[i]!)), addresses[i]!)
      this.byName = found
    }
    return this.byName.get(name)
  }

  private get view(): DataView {
    const { symbols } = this.sections
    return new DataView(symbols.buffer, symbols.byteOffset, symbols.byteLength)
  }

  /** Addresses of functions in order, and where each stands in the table; of several at one address one with a size last. */
  private sort(): { readonly addresses: Float64Array; readonly places: Uint32Array } {
    const { view, sections } = this
    const found: { address: number; place: number; sized: boolean }[] = []
    const count = Math.min(MAX_SYMBOLS, Math.floor(sections.symbols.length / Symbol64.size))
    for (let i = 0; i < count; i += 1) {
      const place = i * Symbol64.size
      const isCode = TYPES.has(Symbol64.info.get(view, place) & 15) && sections.isCode[Symbol64.section.get(view, place)] === true
      if (!isCode || Symbol64.name.get(view, place) === 0) continue
      const address = signedFromParts(Symbol64.value.low(view, place), Symbol64.value.high(view, place))
      found.push({ address, place, sized: Symbol64.length.number(view, place) > 0 })
    }
    found.sort((a, b) => a.address - b.address || Number(a.sized) - Number(b.sized) || b.place - a.place)
    return { addresses: Float64Array.from(found, (one) => one.address), places: Uint32Array.from(found, (one) => one.place) }
  }

  private nameAt(offset: number): string {
    const { strings } = this.sections
    if (offset >= strings.length) return '?'
    const end = strings.subarray(offset, offset + MAX_NAME).indexOf(0)
    const bytes = strings.subarray(offset, offset + (end < 0 ? MAX_NAME : end))
    // Whatever a hostile table holds: it is printed.
    return Array.from(bytes, (byte) => (byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?')).join('')
  }
}

/** The symbols of a 32-bit file in the form that those of a 64-bit one have. */
function widened(bytes: Uint8Array): Uint8Array {
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const symbols = new Uint8Array(Math.floor(bytes.length / Symbol32.size) * Symbol64.size)
  const to = new DataView(symbols.buffer)
  for (let at = 0, place = 0; place < symbols.length; at += Symbol32.size, place += Symbol64.size) {
    const { value, length, ...same } = Symbol32.decode(from, at)
    Symbol64.encode(to, place, { ...same, value: BigInt(value), length: BigInt(length) })
  }
  return symbols
}

/** `name+0x12/0x40`, as Linux and Xen write it. */
export const symbolText = ({ name, offset, size }: SymbolPlace): string =>
  `${name}+0x${offset.toString(16)}${size > 0 ? `/0x${size.toString(16)}` : ''}`

/** What looks addresses up in the symbol table of an ELF file, as `name+0x12/0x40`. Throws INVALID_IMAGE for what has none. */
export function findSymbol(file: Uint8Array): (address: number) => string | undefined {
  const table = SymbolTable.required(file)
  return (address) => {
    const place = table.find(address)
    return place === undefined ? undefined : symbolText(place)
  }
}
