/**
 * An ELF file with a table of symbols and nothing else, as `objcopy --only-keep-debug` leaves one: gdb takes it in place of a kernel.
 * Reference: System V ABI, "Object Files", "Symbol Table"; psABI of x86-64.
 */
import type { NamedFunction } from '../toolstack/index.ts'

const HEADER = 64
const SECTION = 64
const SYMBOL = 24
const EXECUTABLE = 2
const MACHINE_X86_64 = 62
const TYPE = { SYMBOLS: 2, STRINGS: 3, NOBITS: 8 } as const
/** Allocated, executable. */
const CODE = 6
/** Global symbols: of a function, of data. */
const GLOBAL = { FUNCTION: 0x12, OBJECT: 0x11 } as const
/** Sections that symbols are in: the one of code; none, whose addresses stand as they are. */
const PLACE = { CODE: 1, ABSOLUTE: 0xfff1 } as const
const NAMES = '\0.text\0.symtab\0.strtab\0.shstrtab\0'

interface Section {
  readonly name: string
  readonly type: number
  readonly flags?: number
  readonly address?: bigint
  readonly offset: number
  readonly size: number
  readonly link?: number
  readonly info?: number
  readonly entry?: number
}

function writeSection(view: DataView, at: number, { name, type, flags = 0, address = 0n, offset, size, link = 0, info = 0, entry = 0 }: Section): void {
  view.setUint32(at, NAMES.indexOf(`\0${name}\0`) + 1, true)
  view.setUint32(at + 4, type, true)
  view.setUint32(at + 8, flags, true)
  view.setBigUint64(at + 16, address, true)
  view.setBigUint64(at + 24, BigInt(offset), true)
  view.setBigUint64(at + 32, BigInt(size), true)
  view.setUint32(at + 40, link, true)
  view.setUint32(at + 44, info, true)
  view.setBigUint64(at + 48, 1n, true)
  view.setBigUint64(at + 56, BigInt(entry), true)
}

function writeHeader(file: Uint8Array, view: DataView, sectionsAt: number): void {
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, EXECUTABLE, true)
  view.setUint16(18, MACHINE_X86_64, true)
  view.setUint32(20, 1, true)
  view.setBigUint64(40, BigInt(sectionsAt), true)
  view.setUint16(52, HEADER, true)
  view.setUint16(58, SECTION, true)
  view.setUint16(60, 5, true)
  view.setUint16(62, 4, true)
}

/** Writes symbols behind the first, which is none. Names follow each other as they do in the table of strings. */
function writeSymbols(view: DataView, names: readonly NamedFunction[], functions: number): void {
  let nameAt = 1
  for (const [i, { address, name, size }] of names.entries()) {
    const at = HEADER + (i + 1) * SYMBOL
    view.setUint32(at, nameAt, true)
    view.setUint8(at + 4, i < functions ? GLOBAL.FUNCTION : GLOBAL.OBJECT)
    view.setUint16(at + 6, i < functions ? PLACE.CODE : PLACE.ABSOLUTE, true)
    view.setBigUint64(at + 8, BigInt.asUintN(64, BigInt(address)), true)
    view.setBigUint64(at + 16, BigInt(size), true)
    nameAt += name.length + 1
  }
}

/** The file of these functions, which are sorted by address, and of data. All functions are said to lie in one section of code; data lie in none, since theirs would lie in that one. */
export function symbolElf(functions: readonly NamedFunction[], objects: readonly NamedFunction[] = []): Uint8Array {
  const all = [...functions, ...objects]
  const strings = new TextEncoder().encode(`\0${all.map(({ name }) => `${name}\0`).join('')}`)
  const symbolsAt = HEADER
  const stringsAt = symbolsAt + (all.length + 1) * SYMBOL
  const namesAt = stringsAt + strings.length
  const sectionsAt = (namesAt + NAMES.length + 7) & ~7
  const file = new Uint8Array(sectionsAt + 5 * SECTION)
  const view = new DataView(file.buffer)
  writeHeader(file, view, sectionsAt)
  writeSymbols(view, all, functions.length)
  file.set(strings, stringsAt)
  file.set(new TextEncoder().encode(NAMES), namesAt)
  const [first, last] = [functions[0], functions.at(-1)]
  const sections: readonly Section[] = [
    { name: '.text', type: TYPE.NOBITS, flags: CODE, address: BigInt.asUintN(64, BigInt(first?.address ?? 0)), offset: HEADER, size: last === undefined ? 0 : last.address + last.size - first!.address },
    { name: '.symtab', type: TYPE.SYMBOLS, offset: symbolsAt, size: (all.length + 1) * SYMBOL, link: 3, info: 1, entry: SYMBOL },
    { name: '.strtab', type: TYPE.STRINGS, offset: stringsAt, size: strings.length },
    { name: '.shstrtab', type: TYPE.STRINGS, offset: namesAt, size: NAMES.length },
  ]
  for (const [i, section] of sections.entries()) writeSection(view, sectionsAt + (i + 1) * SECTION, section)
  return file
}
