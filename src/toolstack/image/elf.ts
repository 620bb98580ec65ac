/**
 * ELF64 files for x86-64, read without trust: every offset, size and count is checked before it is used, and an error
 * names the field and its value. Nothing of Xen here.
 * Reference: System V ABI, "Object Files"; AMD64 supplement.
 */
import { XenError, isCanonical, overlay, signedFromParts, u16, u32, u64, u8, type WideField } from '../../util/index.ts'

/** Struct Elf64_Ehdr. */
const FileHeader = /* @__PURE__ */ overlay(64, {
  magic: u32(0), class: u8(4), data: u8(5), version: u8(6), type: u16(16), machine: u16(18), fileVersion: u32(20),
  entry: u64(24), phoff: u64(32), shoff: u64(40), flags: u32(48), ehsize: u16(52), phentsize: u16(54), phnum: u16(56),
  shentsize: u16(58), shnum: u16(60), shstrndx: u16(62),
})

/** Struct Elf64_Phdr. */
const ProgramHeader = /* @__PURE__ */ overlay(56, {
  type: u32(0),
  flags: u32(4),
  offset: u64(8),
  vaddr: u64(16),
  paddr: u64(24),
  filesz: u64(32),
  memsz: u64(40),
  align: u64(48),
})

/** Struct Elf64_Shdr. */
const SectionHeader = /* @__PURE__ */ overlay(64, {
  name: u32(0),
  type: u32(4),
  flags: u64(8),
  addr: u64(16),
  offset: u64(24),
  length: u64(32),
  link: u32(40),
  info: u32(44),
  addralign: u64(48),
  entsize: u64(56),
})

const MAGIC = 0x464c457f
const CLASS_64 = 2
const LITTLE_ENDIAN = 1
const TYPES = { executable: 2, shared: 3 } as const
const MACHINE_X86_64 = 62
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
  /** Signed virtual address. */
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

/** Reads headers of one file with checks. */
class ElfReader {
  private readonly file: Uint8Array
  private readonly view: DataView

  constructor(file: Uint8Array) {
    this.file = file
    this.view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  }

  /** A 64-bit field that must be a whole number that fits; larger ones cannot lie in any file or memory. */
  private whole(field: WideField, base: number, name: string): number {
    const value = field.number(this.view, base)
    if (!Number.isSafeInteger(value)) throw imageError(name, field.get(this.view, base), 'is out of range')
    return value
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

  private fileHeader(): void {
    const { view } = this
    if (this.file.length < FileHeader.size)
      throw imageError('file size', this.file.length, 'is too small for an ELF header')
    const expect = (name: string, value: number, wanted: number, what: string): void => {
      if (value !== wanted) throw imageError(name, value, `is not ${what}`)
    }
    expect('e_ident magic', FileHeader.magic.get(view, 0), MAGIC, 'that of an ELF file')
    expect(
      'e_ident[EI_CLASS]',
      FileHeader.class.get(view, 0),
      CLASS_64,
      'ELFCLASS64: only 64-bit kernels are supported',
    )
    expect('e_ident[EI_DATA]', FileHeader.data.get(view, 0), LITTLE_ENDIAN, 'little-endian')
    expect('e_ident[EI_VERSION]', FileHeader.version.get(view, 0), 1, 'the current version')
    expect('e_machine', FileHeader.machine.get(view, 0), MACHINE_X86_64, 'x86-64')
    expect('e_version', FileHeader.fileVersion.get(view, 0), 1, 'the current version')
    const type = FileHeader.type.get(view, 0)
    if (type !== TYPES.executable && type !== TYPES.shared) throw imageError('e_type', type, 'is not an executable')
    const size = FileHeader.ehsize.get(view, 0)
    if (size < FileHeader.size) throw imageError('e_ehsize', size, 'is too small')
  }

  private entry(): number {
    const entry = signedFromParts(FileHeader.entry.low(this.view, 0), FileHeader.entry.high(this.view, 0))
    if (!isCanonical(entry)) throw imageError('e_entry', FileHeader.entry.get(this.view, 0), 'is not canonical')
    return entry
  }

  /** Where the headers of one table stand. */
  private table(kind: 'ph' | 'sh', size: number): readonly number[] {
    const offset = this.whole(kind === 'ph' ? FileHeader.phoff : FileHeader.shoff, 0, `e_${kind}off`)
    const count = (kind === 'ph' ? FileHeader.phnum : FileHeader.shnum).get(this.view, 0)
    const stride = (kind === 'ph' ? FileHeader.phentsize : FileHeader.shentsize).get(this.view, 0)
    if (offset === 0 || count === 0) return []
    if (count > MAX_HEADERS) throw imageError(`e_${kind}num`, count, `is more than ${MAX_HEADERS}`)
    if (stride < size) throw imageError(`e_${kind}entsize`, stride, `is less than ${size}`)
    this.range(offset, stride * count, `e_${kind}off`)
    return Array.from({ length: count }, (_, i) => offset + i * stride)
  }

  /** What the file holds of a segment. Notes are read in the file: their size in memory may be 0. */
  private fileBytes(base: number, i: number): Uint8Array {
    const offset = this.whole(ProgramHeader.offset, base, `segment ${i} p_offset`)
    return this.range(offset, this.whole(ProgramHeader.filesz, base, `segment ${i} p_filesz`), `segment ${i} p_offset`)
  }

  /** A physical address, signed: older kernels count from their virtual base and put virtual addresses here. */
  private physical(base: number, name: string): number {
    const value = BigInt.asIntN(64, ProgramHeader.paddr.get(this.view, base))
    const address = Number(value)
    if (!Number.isSafeInteger(address)) throw imageError(name, BigInt.asUintN(64, value), 'is out of range')
    return address
  }

  private segment(base: number, i: number): ElfSegment {
    const name = (field: string): string => `segment ${i} ${field}`
    const fileSize = this.whole(ProgramHeader.filesz, base, name('p_filesz'))
    const size = this.whole(ProgramHeader.memsz, base, name('p_memsz'))
    const physical = this.physical(base, name('p_paddr'))
    if (fileSize > size) throw imageError(name('p_filesz'), fileSize, `is more than p_memsz 0x${size.toString(16)}`)
    if (!Number.isSafeInteger(physical + size))
      throw imageError(name('p_memsz'), size, 'reaches beyond the address space')
    return { physical, size, bytes: this.fileBytes(base, i) }
  }

  private programs(): Pick<ElfFile, 'segments' | 'notes'> {
    const segments: ElfSegment[] = []
    const notes: Uint8Array[] = []
    for (const [i, base] of this.table('ph', ProgramHeader.size).entries()) {
      const type = ProgramHeader.type.get(this.view, base)
      if (type === SEGMENT_NOTE) notes.push(this.fileBytes(base, i))
      if (type !== SEGMENT_LOAD || (ProgramHeader.flags.get(this.view, base) & SEGMENT_ACCESS) === 0) continue
      const segment = this.segment(base, i)
      if (segment.size > 0) segments.push(segment)
    }
    if (segments.length === 0)
      throw imageError('e_phnum', FileHeader.phnum.get(this.view, 0), 'headers hold nothing to load')
    return { segments, notes }
  }

  private sections(): readonly ElfSection[] {
    const bases = this.table('sh', SectionHeader.size)
    const stringIndex = FileHeader.shstrndx.get(this.view, 0)
    if (bases.length > 0 && stringIndex >= bases.length) throw imageError('e_shstrndx', stringIndex, 'names no section')
    const contents = bases.map((base, i) => {
      const type = SectionHeader.type.get(this.view, base)
      if (type === SECTION_NOBITS || type === 0) return new Uint8Array(0)
      const offset = this.whole(SectionHeader.offset, base, `section ${i} sh_offset`)
      return this.range(
        offset,
        this.whole(SectionHeader.length, base, `section ${i} sh_size`),
        `section ${i} sh_offset`,
      )
    })
    const strings = contents[stringIndex] ?? new Uint8Array(0)
    return bases.map((base, i) => ({
      name: textAt(strings, SectionHeader.name.get(this.view, base)),
      isNote: SectionHeader.type.get(this.view, base) === SECTION_NOTE,
      type: SectionHeader.type.get(this.view, base), link: SectionHeader.link.get(this.view, base),
      isExecutable: (SectionHeader.flags.low(this.view, base) & SECTION_EXECUTABLE) !== 0,
      bytes: contents[i]!,
    }))
  }

  /** The sections alone: a file of symbols may have nothing to load. */
  readSections(): readonly ElfSection[] {
    this.fileHeader()
    return this.sections()
  }

  read(): ElfFile {
    this.fileHeader()
    return { entry: this.entry(), ...this.programs(), sections: this.sections() }
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
export const parseElfSections = (file: Uint8Array): readonly ElfSection[] => new ElfReader(file).readSections()
