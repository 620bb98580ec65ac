/** Makes small ELF files for tests of the loader: segments, notes in either place, and any header field overwritten. */

/** One PT_LOAD segment. */
export interface TestSegment {
  readonly address: number
  readonly bytes: Uint8Array
  readonly size?: number
  readonly flags?: number
}

/** A note of owner "Xen" unless said otherwise; numbers become 8 bytes. */
export interface TestNote {
  readonly type: number
  readonly value: bigint | string | Uint8Array
  readonly owner?: string
}

/** A name in the symbol table; a function of the first segment unless said otherwise. */
export interface TestSymbol {
  readonly name: string
  readonly value: bigint
  readonly size?: bigint
  readonly type?: number
  readonly section?: number
}

export interface TestElf {
  readonly entry?: bigint
  readonly segments: readonly TestSegment[]
  readonly notes?: readonly TestNote[]
  /** `segment`: PT_NOTE (default). `section`: SHT_NOTE only. */
  readonly notesIn?: 'segment' | 'section'
  /** Text of a `__xen_guest` section. */
  readonly guestSection?: string
  readonly symbols?: readonly TestSymbol[]
}

/** The entries of a symbol table and its strings. */
function symbolParts(symbols: readonly TestSymbol[], code: number): readonly [Uint8Array, Uint8Array] {
  const table = new DataView(new ArrayBuffer((symbols.length + 1) * 24))
  let strings = '\0'
  symbols.forEach(({ name, value, size = 0n, type = 2, section = code }, i) => {
    const at = (i + 1) * 24
    table.setUint32(at, strings.length, true)
    table.setUint8(at + 4, 0x10 | type)
    table.setUint16(at + 6, section, true)
    table.setBigUint64(at + 8, BigInt.asUintN(64, value), true)
    table.setBigUint64(at + 16, size, true)
    strings += `${name}\0`
  })
  return [new Uint8Array(table.buffer), new TextEncoder().encode(strings)]
}

const padded = (length: number): number => (length + 3) & ~3

export function noteBytes(notes: readonly TestNote[]): Uint8Array {
  const parts: number[] = []
  for (const { type, value, owner = 'Xen' } of notes) {
    const name = new TextEncoder().encode(`${owner}\0`)
    const data = typeof value === 'bigint'
      ? new Uint8Array(new BigUint64Array([BigInt.asUintN(64, value)]).buffer)
      : typeof value === 'string' ? new TextEncoder().encode(`${value}\0`) : value
    const header = new Uint8Array(new Uint32Array([name.length, data.length, type]).buffer)
    parts.push(...header, ...name, ...new Array<number>(padded(name.length) - name.length).fill(0))
    parts.push(...data, ...new Array<number>(padded(data.length) - data.length).fill(0))
  }
  return new Uint8Array(parts)
}

/** The file: header, program headers, contents, section headers. */
export function makeElf({
  entry = 0n,
  segments,
  notes = [],
  notesIn = 'segment',
  guestSection,
  symbols,
}: TestElf): Uint8Array<ArrayBuffer> {
  const noteArea = noteBytes(notes)
  const noteSegment = notes.length > 0 && notesIn === 'segment'
  const names = '\0.shstrtab\0.note.Xen\0__xen_guest\0'
  const contents: Uint8Array[] = [
    ...segments.map((segment) => segment.bytes),
    noteArea,
    new TextEncoder().encode(names),
  ]
  if (guestSection !== undefined) contents.push(new TextEncoder().encode(`${guestSection}\0`))
  const code = guestSection === undefined ? 3 : 4
  if (symbols !== undefined) contents.push(...symbolParts(symbols, code))
  const phnum = segments.length + (noteSegment ? 1 : 0)
  const offsets: number[] = []
  let end = 64 + phnum * 56
  for (const part of contents) {
    offsets.push(end)
    end += (part.length + 15) & ~15
  }
  const shnum = code + (symbols === undefined ? 0 : 3)
  const file = new Uint8Array(end + shnum * 64)
  const view = new DataView(file.buffer)
  view.setUint32(0, 0x464c457f, true)
  file.set([2, 1, 1], 4)
  view.setUint16(16, 2, true)
  view.setUint16(18, 62, true)
  view.setUint32(20, 1, true)
  view.setBigUint64(24, BigInt.asUintN(64, entry), true)
  view.setBigUint64(32, 64n, true)
  view.setBigUint64(40, BigInt(end), true)
  for (const [offset, value] of [
    [52, 64],
    [54, 56],
    [56, phnum],
    [58, 64],
    [60, shnum],
    [62, 1],
  ] as const)
    view.setUint16(offset, value, true)
  const program = (i: number, type: number, flags: number, values: readonly number[]): void => {
    view.setUint32(64 + i * 56, type, true)
    view.setUint32(64 + i * 56 + 4, flags, true)
    values.forEach((value, j) => view.setBigUint64(64 + i * 56 + 8 + j * 8, BigInt(value), true))
  }
  segments.forEach((s, i) =>
    program(i, 1, s.flags ?? 7, [offsets[i]!, s.address, s.address, s.bytes.length, s.size ?? s.bytes.length, 4096]),
  )
  if (noteSegment)
    program(segments.length, 4, 4, [offsets[segments.length]!, 0, 0, noteArea.length, noteArea.length, 4])
  const section = (i: number, name: number, type: number, content: number): void => {
    view.setUint32(end + i * 64, name, true)
    view.setUint32(end + i * 64 + 4, type, true)
    view.setBigUint64(end + i * 64 + 24, BigInt(offsets[content]!), true)
    view.setBigUint64(end + i * 64 + 32, BigInt(contents[content]!.length), true)
  }
  section(1, 1, 3, segments.length + 1)
  section(2, 11, notes.length > 0 && notesIn === 'section' ? 7 : 1, segments.length)
  if (guestSection !== undefined) section(3, 21, 1, segments.length + 2)
  if (symbols !== undefined) {
    section(code, 0, 1, 0)
    view.setBigUint64(end + code * 64 + 8, 6n, true)
    section(code + 1, 0, 2, contents.length - 2)
    view.setUint32(end + (code + 1) * 64 + 40, code + 2, true)
    section(code + 2, 0, 3, contents.length - 1)
  }
  contents.forEach((part, i) => file.set(part, offsets[i]!))
  return file
}

/** A file of 32 bits for i386: segments, and notes in a PT_NOTE segment. */
export function makeElf32({ entry = 0n, segments, notes = [] }: Pick<TestElf, 'entry' | 'segments' | 'notes'>): Uint8Array<ArrayBuffer> {
  const parts = [
    ...segments.map(({ address, bytes, size = bytes.length, flags = 7 }) => ({ type: 1, address, bytes, size, flags })),
    ...(notes.length === 0 ? [] : [{ type: 4, address: 0, bytes: noteBytes(notes), size: 0, flags: 4 }]),
  ]
  const head = 52 + parts.length * 32
  const file = new Uint8Array(parts.reduce((sum, { bytes }) => sum + bytes.length, head))
  const view = new DataView(file.buffer)
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1])
  for (const [offset, value] of [[16, 2], [18, 3], [40, 52], [42, 32], [44, parts.length]] as const) view.setUint16(offset, value, true)
  for (const [offset, value] of [[20, 1], [24, Number(entry)], [28, 52]] as const) view.setUint32(offset, value, true)
  let end = head
  parts.forEach(({ type, address, bytes, size, flags }, i) => {
    const words = [type, end, address, address, bytes.length, size, flags, 4]
    words.forEach((word, j) => view.setUint32(52 + i * 32 + j * 4, word, true))
    file.set(bytes, end)
    end += bytes.length
  })
  return file
}

/** A copy of a 32-bit file without sections whose notes are gone; a `__xen_guest` section says the text instead. */
export function withGuestSection(file: Uint8Array, text: string): Uint8Array<ArrayBuffer> {
  const names = '\0.shstrtab\0__xen_guest\0'
  const contents = [names, text].map((content) => new TextEncoder().encode(content))
  const start = (file.length + 3) & ~3
  const table = start + contents.reduce((sum, { length }) => sum + padded(length), 0)
  const made = new Uint8Array(table + 3 * 40)
  made.set(file)
  const view = new DataView(made.buffer)
  const [segments, size, count] = [view.getUint32(28, true), view.getUint16(42, true), view.getUint16(44, true)]
  for (let i = 0; i < count; i += 1) if (view.getUint32(segments + i * size, true) === 4) view.setUint32(segments + i * size, 0, true)
  view.setUint32(32, table, true)
  for (const [offset, value] of [[46, 40], [48, 3], [50, 1]] as const) view.setUint16(offset, value, true)
  let at = start
  contents.forEach((content, i) => {
    made.set(content, at)
    const words = [names.indexOf(i === 0 ? '.shstrtab' : '__xen_guest'), i === 0 ? 3 : 1, 0, 0, at, content.length, 0, 0, 1, 0]
    words.forEach((word, j) => view.setUint32(table + (i + 1) * 40 + j * 4, word, true))
    at += padded(content.length)
  })
  return made
}
