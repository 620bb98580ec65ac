/**
 * What follows from segments, control registers and EFER: how code is decoded, which rights the memory path has, which
 * translations have to go.
 */
import { ATTRIBUTE, CR0, CR4, EFER, RFLAGS, SEGMENT, XCR0 } from '../../../x86/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { DescriptorSource } from '../../interface/sources.ts'
import { MODE, PERMISSION, SEGMENT_SLOT, State, TLB } from '../layout/state.ts'
import type { DebugUnit } from './debug.ts'
import type { GeneratedCode } from './generated-code.ts'
import type { RegisterFile } from './register-file.ts'
import type { Segments } from './segments.ts'
import type { Translations } from './translations.ts'

const choose = (condition: boolean, bit: number): number => (condition ? bit : 0)

/** What a mode works on. */
interface ModeParts {
  readonly bare: boolean
  readonly isNested: boolean
  readonly registers: RegisterFile
  readonly code: GeneratedCode
  readonly segments: Segments
  readonly translations: Translations
  readonly debug: DebugUnit
  readonly descriptors: DescriptorSource | undefined
}

/** Mode of one processor. */
export class Mode {
  private readonly parts: ModeParts

  constructor(parts: ModeParts) {
    this.parts = parts
  }

  /** Sets selector and hidden part at once, without any check. */
  setSegment(index: number, state: SegmentState): void {
    const { registers } = this.parts
    const changesRing = index === SEGMENT.ss && (state.selector & 3) !== registers.cpl
    registers.writeSegment(index, state)
    if (index === SEGMENT.cs || index === SEGMENT.ss) this.noteConstants()
    // In 64-bit mode the stack's segment is its ring, and one code segment is as good as another.
    const staysLong = registers.long && (index !== SEGMENT.cs || (state.attributes & ATTRIBUTE.LONG) !== 0)
    if (!staysLong) this.update()
    else if (changesRing) this.updatePermissions()
  }

  /** Notes whether code and stack segment are ones that never change, so that returns to them need not read them again. */
  private noteConstants(): void {
    const { bare, registers, descriptors } = this.parts
    const [code, stack] = [registers.selector(SEGMENT.cs), registers.selector(SEGMENT.ss)]
    const isConstant = !bare && descriptors?.isConstant?.(code) === true && descriptors.isConstant(stack)
    State.constantSelectors.set(registers.view, registers.base, isConstant ? code | stack << 16 : 0)
  }

  /** Writes a control register without checks. */
  setControl(index: number, low: number, high: number): void {
    const { bare, registers, translations } = this.parts
    State.control.element.setParts(registers.view, State.control.at(registers.base, index), low, high)
    if (index === 0 && bare) this.followPaging()
    if (index === 0 || index === 4) this.update()
    else if (index === 3) this.updateRoot()
    if (index === 0 || index === 4) translations.flush()
    else if (index === 3) translations.enterTable(low)
  }

  /** Writes EFER without checks; LMA follows from paging. */
  setEfer(value: number): void {
    const { registers, translations } = this.parts
    registers.efer = value
    this.followPaging()
    this.update()
    translations.flush()
  }

  /** Long mode is active while it is enabled and paging is on. */
  private followPaging(): void {
    const { registers } = this.parts
    const active = (registers.controlLow(0) & CR0.PG) !== 0 && (registers.efer & EFER.LME) !== 0
    registers.efer = active ? registers.efer | EFER.LMA : registers.efer & ~EFER.LMA
  }

  /** Works out how code is decoded, and what that means for the segment bases. */
  private update(): void {
    const { registers, segments } = this.parts
    const isLong = registers.isLongMode && (registers.attributes(SEGMENT.cs) & ATTRIBUTE.LONG) !== 0
    const mode = isLong ? MODE.CODE64 : segments.mode()
    const cr0 = registers.controlLow(0)
    const float = choose((cr0 & CR0.TS) !== 0, MODE.SWITCHED) | choose((cr0 & CR0.EM) !== 0, MODE.EMULATED) |
      choose((registers.controlLow(4) & CR4.OSFXSR) === 0, MODE.NO_SSE) | choose(!this.hasAvx, MODE.NO_AVX)
    this.updateBases(mode | float)
    this.updatePermissions()
  }

  /** True where the kernel has said that it keeps the state of AVX; real mode has none of it. */
  private get hasAvx(): boolean {
    if ((this.parts.registers.controlLow(0) & CR0.PE) === 0) return false
    const { view, base } = this.parts.registers
    const wanted = XCR0.SSE | XCR0.AVX
    return (this.parts.registers.controlLow(4) & CR4.OSXSAVE) !== 0 && (State.xcr0.get(view, base) & wanted) === wanted
  }

  /** Writes XCR0 without checks. */
  setXcr0(value: number): void {
    State.xcr0.set(this.parts.registers.view, this.parts.registers.base, value)
    this.update()
  }

  /** Sets what the mode leaves of the segment bases; the instruction pointer keeps its offset in CS. */
  private updateBases(mode: number): void {
    const { registers, code } = this.parts
    const { rip } = registers
    State.mode.set(registers.view, registers.base, mode)
    const { long } = registers
    for (let index = 0; index < SEGMENT.fs; index += 1) {
      registers.setSlot(SEGMENT_SLOT[index]!, long ? 0 : registers.segmentBase(index), 0)
    }
    registers.setRip(rip)
    code.select(long ? 64 : 32)
  }

  /** Works out what the memory path has to know from control registers, EFER and privilege level. */
  updatePermissions(user = this.parts.registers.cpl === 3): void {
    const { registers, translations, debug } = this.parts
    const { view, base } = registers
    const isAcSet = (State.systemFlags.get(view, base) & RFLAGS.AC) !== 0
    if (isAcSet || State.watch.get(view, base) !== 0) debug.updateWatch()
    const permissions = this.permissionsOf(user, isAcSet)
    // While AC lifts SMAP ordinary rights are remembered, which do not outlast it.
    if ((permissions & ~State.permissions.get(view, base) & PERMISSION.SMAP) !== 0) translations.drop()
    State.permissions.set(view, base, permissions)
    translations.updateContext()
    State.bank.set(view, base, user ? translations.bank : base + TLB.offset + TLB.bankBytes)
    this.updateRoot()
  }

  /** Works out where the page walk begins. */
  private updateRoot(): void {
    const { registers } = this.parts
    const { view, base } = registers
    const pointers = !registers.isLongMode && (registers.controlLow(4) & CR4.PAE) !== 0
    State.root.set(view, base, registers.controlLow(3) & (pointers ? 0xffff_ffe0 : 0xffff_f000))
  }

  private permissionsOf(user: boolean, isAcSet: boolean): number {
    const { registers, isNested } = this.parts
    const [cr0, cr4, long] = [registers.controlLow(0), registers.controlLow(4), registers.isLongMode]
    // Without paging no page belongs to ring 3.
    const supervisor = !user && (cr0 & CR0.PG) !== 0
    return choose(user, PERMISSION.USER) | choose((cr0 & CR0.WP) !== 0, PERMISSION.WRITE_PROTECT) |
      choose((registers.efer & EFER.NXE) !== 0, PERMISSION.NX) | choose((cr0 & CR0.PG) !== 0, PERMISSION.PAGING) |
      choose(long, PERMISSION.LONG) | choose(long || (cr4 & CR4.PAE) !== 0, PERMISSION.PAE) |
      choose((cr4 & CR4.PSE) !== 0, PERMISSION.PSE) | choose(isNested, PERMISSION.NESTED) |
      choose(supervisor && (cr4 & CR4.SMEP) !== 0, PERMISSION.SMEP) |
      choose(supervisor && (cr4 & CR4.SMAP) !== 0 && !isAcSet, PERMISSION.SMAP)
  }
}
