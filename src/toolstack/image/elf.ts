/**
 * ELF files for x86, of 64 and of 32 bits, read without trust: every offset, size and count is checked before it is used,
 * and an error names the field and its value. Nothing of Xen here.
 * Reference: System V ABI, "Object Files"; AMD64 and Intel386 supplements.
 */
import { XenError, isCanonical, overlay, u16, u32, u64, u8, type NumberField, type WideField } from '../../util/index.ts'

/** What both classes of files begin with. */
const Identification = /* @__PURE__ */ overlay(16, { magic: u32(0), class: u8(4), data: u8(5), version: u8(6) })

/** Structs Elf64_Ehdr, Elf64_Phdr and Elf64_Shdr. */
const LAYOUT_64 = /* @__PURE__ */ (() => ({
  file: overlay(64, {
    type: u16(16), machine: u16(18), fileVersion: u32(20), entry: u64(24), phoff: u64(32), shoff: u64(40), ehsize: u16(52),
    phentsize: u16(54), phnum: u16(56), shentsize: u16(58), shnum: u16(60), shstrndx: u16(62),
  }),
  program: overlay(56, {
    type: u32(0), flags: u32(4), offset: u64(8), paddr: u64(24), filesz: u64(32), memsz: u64(40),
  }),
  section: overlay(64, { name: u32(0), type: u32(4), flags: u64(8), offset: u64(24), length: u64(32), link: u32(40) }),
}))()

/** Structs Elf32_Ehdr, Elf32_Phdr and Elf32_Shdr. */
const LAYOUT_32 = /* @__PURE__ */ (() => ({
  file: overlay(52, {
    type: u16(16), machine: u16(18), fileVersion: u32(20), entry: u32(24), phoff: u32(28), shoff: u32(32), ehsize: u16(40),
    phentsize: u16(42), phnum: u16(44), shentsize: u16(46), shnum: u16(48), shstrndx: u16(50),
  }),
  program: overlay(32, {
    type: u32(0), flags: u32(24), offset: u32(4), paddr: u32(12), filesz: u32(16), memsz: u32(20),
  }),
  section: overlay(40, { name: u32(0), type: u32(4), flags: u32(8), offset: u32(16), length: u32(20), link: u32(24) }),
}))()

const MAGIC = 0x464c457f
const CLASSES = { bits32: 1, bits64: 2 } as const
const LITTLE_ENDIAN = 1
const TYPES = { executable: 2, shared: 3 } as const
const MACHINES = { i386: 3, x86_64: 62 } as const
const SEGMENT_LOAD = 1
const SEGMENT_NOTE = 4
/** PF_R, PF_W and PF_X: a segment without any of them is not loaded. */
const SEGMENT_ACCESS = 7
const SECTION_NOTE = 7
const SECTION_NOBITS = 8
/** SHF_EXECINSTR. */
const SECTION_EXECUTABLE = 4
/** No kernel has more; a hostile file must not make us walk 65,535 headers of nothing. */
const MAX_HEADERS = 1024

/** A part of the file that is loaded. */
export interface ElfSegment {
  /** Physical address in the kernel's own counting. */
  readonly physical: number
  /** What the file holds of it; the rest of `size` is zero. */
  readonly bytes: Uint8Array
  /** Bytes in memory. */
  readonly size: number
}

/** A named part of the file. */
export interface ElfSection {
  readonly name: string
  readonly isNote: boolean
  /** SHT number: what the section is. */
  readonly type: number
  readonly isExecutable: boolean
  /** Index of the section that belongs to it: the strings of a symbol table. */
  readonly link: number
  readonly bytes: Uint8Array
}

/** What a loader needs of an ELF file. */
export interface ElfFile {
  readonly bits: 32 | 64
  /** Virtual address: signed in a file of 64 bits, unsigned in one of 32. */
  readonly entry: number
  readonly segments: readonly ElfSegment[]
  /** Contents of the PT_NOTE segments. */
  readonly notes: readonly Uint8Array[]
  readonly sections: readonly ElfSection[]
}

/** An INVALID_IMAGE error naming a field of a header. */
export function imageError(field: string, value: number | bigint | string, why: string): XenError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : `0x${value.toString(16)}`
  return new XenError('INVALID_IMAGE', `kernel image: ${field} ${shown} ${why}`, { details: { field, value } })
}

/** A field as wide as the words of its file's class. */
type WordField = NumberField | WideField

/** Reads headers of one file with checks. */
class ElfReader {
  private readonly file: Uint8Array
  private readonly view: DataView
  private readonly bits: 32 | 64
  private readonly layout: typeof LAYOUT_32 | typeof LAYOUT_64

  constructor(file: Uint8Array) {
    this.file = file
    this.view = new DataView(file.buffer, file.byteOffset, file.byteLength)
    this.bits = this.identify()
    this.layout = this.bits === 64 ? LAYOUT_64 : LAYOUT_32
    this.checkHeader()
  }

  /** A field's value as it stands there. */
  private word(field: WordField, base: number): bigint {
    return BigInt(field.get(this.view, base))
  }

  /** A field that must be a whole number that fits; larger ones cannot lie in any file or memory. */
  private whole(field: WordField, base: number, name: string): number {
    const value = this.word(field, base)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw imageError(name, value, 'is out of range')
    return Number(value)
  }

  private range(offset: number, size: number, name: string): Uint8Array {
    if (offset + size > this.file.length) {
      throw imageError(
        name,
        offset,
        `+ 0x${size.toString(16)} bytes reaches beyond the file's 0x${this.file.length.toString(16)}`,
      )
    }
    return this.file.subarray(offset, offset + size)
  }

  private expect(name: string, value: number, wanted: number, what: string): void {
    if (value !== wanted) throw imageError(name, value, `is not ${what}`)
  }

  /** Tells the file's class. */
  private identify(): 32 | 64 {
    const { view } = this
    if (this.file.length < LAYOUT_32.file.size) throw imageError('file size', this.file.length, 'is too small for an ELF header')
    this.expect('e_ident magic', Identification.magic.get(view, 0), MAGIC, 'that of an ELF file')
    const found = Identification.class.get(view, 0)
    if (found !== CLASSES.bits32) this.expect('e_ident[EI_CLASS]', found, CLASSES.bits64, 'ELFCLASS32 or ELFCLASS64')
    this.expect('e_ident[EI_DATA]', Identification.data.get(view, 0), LITTLE_ENDIAN, 'little-endian')
    this.expect('e_ident[EI_VERSION]', Identification.version.get(view, 0), 1, 'the current version')
    return found === CLASSES.bits64 ? 64 : 32
  }

  private checkHeader(): void {
    const { view, layout: { file } } = this
    if (this.file.length < file.size) throw imageError('file size', this.file.length, 'is too small for an ELF header')
    const [machine, what] = this.bits === 64 ? [MACHINES.x86_64, 'x86-64'] as const : [MACHINES.i386, 'i386'] as const
    this.expect('e_machine', file.machine.get(view, 0), machine, what)
    this.expect('e_version', file.fileVersion.get(view, 0), 1, 'the current version')
    const type = file.type.get(view, 0)
    if (type !== TYPES.executable && type !== TYPES.shared) throw imageError('e_type', type, 'is not an executable')
    const size = file.ehsize.get(view, 0)
    if (size < file.size) throw imageError('e_ehsize', size, 'is too small')
  }

  private entry(): number {
    const entry = this.word(this.layout.file.entry, 0)
    const signed = this.bits === 64 ? Number(BigInt.asIntN(64, entry)) : Number(entry)
    if (!isCanonical(signed)) throw imageError('e_entry', entry, 'is not canonical')
    return signed
  }

  /** Where the headers of one table stand. */
  private table(kind: 'ph' | 'sh', size: number): readonly number[] {
    const { file } = this.layout
    const offset = this.whole(kind === 'ph' ? file.phoff : file.shoff, 0, `e_${kind}off`)
    const count = (kind === 'ph' ? file.phnum : file.shnum).get(this.view, 0)
    const stride = (kind === 'ph' ? file.phentsize : file.shentsize).get(this.view, 0)
    if (offset === 0 || count === 0) return []
    if (count > MAX_HEADERS) throw imageError(`e_${kind}num`, count, `is more than ${MAX_HEADERS}`)
    if (stride < size) throw imageError(`e_${kind}entsize`, stride, `is less than ${size}`)
    this.range(offset, stride * count, `e_${kind}off`)
    return Array.from({ length: count }, (_, i) => offset + i * stride)
  }

  /** What the file holds of a segment. Notes are read in the file: their size in memory may be 0. */
  private fileBytes(base: number, i: number): Uint8Array {
    const { program } = this.layout
    const offset = this.whole(program.offset, base, `segment ${i} p_offset`)
    return this.range(offset, this.whole(program.filesz, base, `segment ${i} p_filesz`), `segment ${i} p_offset`)
  }

  /** A physical address, signed in 64 bits: older kernels count from their virtual base and put virtual addresses here. */
  private physical(base: number, name: string): number {
    const value = this.word(this.layout.program.paddr, base)
    const address = Number(this.bits === 64 ? BigInt.asIntN(64, value) : value)
    if (!Number.isSafeInteger(address)) throw imageError(name, value, 'is out of range')
    return address
  }

  private segment(base: number, i: number): ElfSegment {
    const name = (field: string): string => `segment ${i} ${field}`
    const { program } = this.layout
    const fileSize = this.whole(program.filesz, base, name('p_filesz'))
    const size = this.whole(program.memsz, base, name('p_memsz'))
    const physical = this.physical(base, name('p_paddr'))
    if (fileSize > size) throw imageError(name('p_filesz'), fileSize, `is more than p_memsz 0x${size.toString(16)}`)
    if (!Number.isSafeInteger(physical + size))
      throw imageError(name('p_memsz'), size, 'reaches beyond the address space')
    return { physical, size, bytes: this.fileBytes(base, i) }
  }

  private programs(): Pick<ElfFile, 'segments' | 'notes'> {
    const { program } = this.layout
    const segments: ElfSegment[] = []
    const notes: Uint8Array[] = []
    for (const [i, base] of this.table('ph', program.size).entries()) {
      const type = program.type.get(this.view, base)
      if (type === SEGMENT_NOTE) notes.push(this.fileBytes(base, i))
      if (type !== SEGMENT_LOAD || (program.flags.get(this.view, base) & SEGMENT_ACCESS) === 0) continue
      const segment = this.segment(base, i)
      if (segment.size > 0) segments.push(segment)
    }
    if (segments.length === 0)
      throw imageError('e_phnum', this.layout.file.phnum.get(this.view, 0), 'headers hold nothing to load')
    return { segments, notes }
  }

  private sections(): readonly ElfSection[] {
    const { file, section } = this.layout
    const bases = this.table('sh', section.size)
    const stringIndex = file.shstrndx.get(this.view, 0)
    if (bases.length > 0 && stringIndex >= bases.length) throw imageError('e_shstrndx', stringIndex, 'names no section')
    const contents = bases.map((base, i) => {
      const type = section.type.get(this.view, base)
      if (type === SECTION_NOBITS || type === 0) return new Uint8Array(0)
      const offset = this.whole(section.offset, base, `section ${i} sh_offset`)
      return this.range(
        offset,
        this.whole(section.length, base, `section ${i} sh_size`),
        `section ${i} sh_offset`,
      )
    })
    const strings = contents[stringIndex] ?? new Uint8Array(0)
    return bases.map((base, i) => ({
      name: textAt(strings, section.name.get(this.view, base)),
      isNote: section.type.get(this.view, base) === SECTION_NOTE,
      type: section.type.get(this.view, base), link: section.link.get(this.view, base),
      isExecutable: (Number(this.word(section.flags, base) & 0xffffn) & SECTION_EXECUTABLE) !== 0,
      bytes: contents[i]!,
    }))
  }

  /** The sections alone: a file of symbols may have nothing to load. */
  readSections(): Pick<ElfFile, 'bits' | 'sections'> {
    return { bits: this.bits, sections: this.sections() }
  }

  read(): ElfFile {
    return { bits: this.bits, entry: this.entry(), ...this.programs(), sections: this.sections() }
  }
}

/** The zero-terminated text at an offset, at most 64 characters: longer names are of no interest here. */
function textAt(strings: Uint8Array, offset: number): string {
  const end = strings.indexOf(0, offset)
  return String.fromCharCode(...strings.subarray(offset, Math.min(end < 0 ? strings.length : end, offset + 64)))
}

/** Reads the headers of an ELF file. Throws INVALID_IMAGE with `field` and `value`. */
export function parseElf(file: Uint8Array): ElfFile {
  return new ElfReader(file).read()
}

/** Reads the sections of an ELF file, which need have no contents to load. Throws INVALID_IMAGE. */
export const parseElfSections = (file: Uint8Array): Pick<ElfFile, 'bits' | 'sections'> => new ElfReader(file).readSections()
