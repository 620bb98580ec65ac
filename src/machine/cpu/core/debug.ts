/**
 * Debug registers, single step and alignment checks: what makes a processor look at each instruction or each memory
 * access. While none of it is on, generated code does not know of it; while accesses are watched, no translation for
 * data is remembered, so that all of them pass the slow path, which asks here.
 * Reference: Intel SDM volume 3, chapter 17; section 6.15, interrupt 17.
 */
import { CR0, CR4, DR6, DR7, RFLAGS, VECTOR } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import { State, WATCH, WATCH_AGAIN } from '../layout/state.ts'
import type { Faults } from './faults.ts'
import type { RegisterFile } from './register-file.ts'
import type { Translations } from './translations.ts'

/** Takes accesses of an instruction that is carried out for the host. */
export interface AccessTarget {
  /** Looks at an access: 1 to let it go on, 0 to refuse it, or where in memory it goes instead. */
  access(address: number, bytes: number, isWrite: boolean): number
}

/** Whoever watches a processor at work. */
export interface Observer {
  /** False while it looks at nothing. */
  readonly active: boolean
  /** True while it wants to hear of accesses to memory. */
  readonly watchesMemory: boolean
  /** True while it wants to be asked by `look` about accesses to pages that it does not know. */
  readonly watchesPages: boolean
  /** An access to a page that is not remembered is about to be made: what to do about it. */
  look(address: number, size: number, isWrite: boolean): Watched
  /** A breakpoint may lie before an instruction, so many done before it: true when it is not to be executed now. */
  breaksAt(address: number, count: number): boolean
  /** An instruction is about to access memory; it may still fault. */
  access(address: number, size: number, isWrite: boolean): void
  /** An exception is about to be delivered. */
  exception(event: { readonly vector: number; readonly errorCode: number; readonly address: number }): void
}

/**
 * What is watched of a page. `reads`, `writes`: which accesses to it are not to be remembered; `again`: the instruction is to be begun
 * anew, by itself.
 */
export interface Watched {
  readonly reads: boolean
  readonly writes: boolean
  readonly again: boolean
}

/** Why all data accesses are looked at, whatever their pages. */
const ALL_PAGES = WATCH.BREAKPOINTS | WATCH.ALIGNMENT | WATCH.TRACE | WATCH.ASIDE
/** A page is not to be remembered. */
const HELD = WATCH.HELD_READ | WATCH.HELD_WRITE

/** Kinds of a breakpoint as DR7 encodes them. */
const KIND = { EXECUTE: 0, WRITE: 1, PORT: 2, READ_WRITE: 3 } as const
/** Bytes by DR7's length field. */
const LENGTHS = [1, 2, 8, 4] as const

/** An enabled breakpoint. */
interface Breakpoint {
  /** Its bit in DR6. */
  readonly bit: number
  readonly kind: number
  readonly address: number
  readonly bytes: number
}

/** What an operand's address has to be a multiple of: its size but at most 16, for x87's 10 bytes 8, for odd pieces nothing. */
const alignmentOf = (bytes: number): number => (bytes === 10 ? 8 : bytes === 32 ? 16 : [2, 4, 8, 16].includes(bytes) ? bytes : 1)

/** Debug registers of one core and what follows from them. */
export class DebugUnit {
  private readonly registers: RegisterFile
  private readonly faults: Faults
  private readonly translations: Translations
  private breakpoints: readonly Breakpoint[] = []
  /** What keeps the page of the last access from being remembered. */
  private held = 0
  /** Bits for DR6 of a trap that is due before the next instruction. */
  pending = 0
  /** While the processor accesses its own tables, which no breakpoint and no alignment check sees. */
  isImplicit = false
  /** What the access at hand has to be aligned to, where that is not its size. */
  alignment: number | undefined
  /** Where accesses of the instruction at hand go instead of memory, while the host has it carried out. */
  aside: AccessTarget | undefined
  /** Watches the processor; made with the first hook. */
  observer: Observer | undefined
  /** The instruction at hand leaves no single-step trap behind: it has delivered an interrupt itself. */
  isUntraced = false

  constructor(parts: { readonly registers: RegisterFile; readonly faults: Faults; readonly translations: Translations }) {
    this.registers = parts.registers
    this.faults = parts.faults
    this.translations = parts.translations
  }

  low(index: number): number {
    return State.debug.element.low(this.registers.view, State.debug.at(this.registers.base, index))
  }

  high(index: number): number {
    return State.debug.element.high(this.registers.view, State.debug.at(this.registers.base, index))
  }

  private address(index: number): number {
    return signedFromParts(this.low(index), this.high(index))
  }

  /** Writes a debug register without checks. */
  set(index: number, low: number, high: number): void {
    const { view, base } = this.registers
    State.debug.element.setParts(view, State.debug.at(base, index), low, high)
    this.update()
  }

  /** Works out what DR0 to DR3 and DR7 ask for; CR4.DE decides about port breakpoints. */
  update(): void {
    const control = this.low(7)
    const found: Breakpoint[] = []
    for (let i = 0; i < 4; i += 1) {
      if (((control >>> (2 * i)) & 3) === 0) continue
      const kind = (control >>> (16 + 4 * i)) & 3
      const bytes = kind === KIND.EXECUTE ? 1 : LENGTHS[(control >>> (18 + 4 * i)) & 3]!
      const address = Math.floor(this.address(i) / bytes) * bytes
      if (kind === KIND.PORT && (this.registers.controlLow(4) & CR4.DE) === 0) continue
      found.push({ bit: 1 << i, kind, address, bytes })
    }
    this.breakpoints = found
    this.updateWatch()
  }

  /** Works out whether data accesses have to be looked at; called when flags, CR0 or the privilege level change. */
  updateWatch(): void {
    const { view, base } = this.registers
    const data = this.breakpoints.some(({ kind }) => kind === KIND.WRITE || kind === KIND.READ_WRITE)
    const aligned = (this.registers.controlLow(0) & CR0.AM) !== 0 && this.registers.cpl === 3 &&
      (State.systemFlags.get(view, base) & RFLAGS.AC) !== 0
    const watch = (data ? WATCH.BREAKPOINTS : 0) | (aligned ? WATCH.ALIGNMENT : 0) |
      (this.observer?.watchesMemory === true ? WATCH.TRACE : 0) | (this.aside !== undefined ? WATCH.ASIDE : 0) |
      (this.observer?.watchesPages === true ? WATCH.PAGES | HELD | (State.watch.get(view, base) & WATCH.NOTED) : 0)
    const before = State.watch.get(view, base)
    if (watch === before) return
    State.watch.set(view, base, watch)
    const reasons = watch & ~before & (ALL_PAGES | WATCH.PAGES)
    if ((before & ALL_PAGES) === 0 && reasons !== 0) this.translations.flush()
  }

  /** True when each instruction has to be looked at by itself. */
  get isCareful(): boolean {
    if (this.aside !== undefined) return false
    return this.pending !== 0 || this.breakpoints.length !== 0 ||
      (State.systemFlags.get(this.registers.view, this.registers.base) & RFLAGS.TF) !== 0
  }

  /** True while an observer watches the processor, and the instruction at hand is not the host's. */
  get isTraced(): boolean {
    return this.observer?.active === true && this.aside === undefined
  }

  /** True while breakpoints on instructions are enabled, so that RFLAGS.RF means something. */
  get watchesCode(): boolean {
    return this.breakpoints.some(({ kind }) => kind === KIND.EXECUTE)
  }

  /** DR6 bits of the breakpoints at an instruction's linear address. */
  atInstruction(linear: number): number {
    return this.match(linear, 1, (kind) => kind === KIND.EXECUTE)
  }

  /** Notes a port access; the trap comes behind the instruction. */
  atPort(port: number, bytes: number): void {
    if (this.breakpoints.length !== 0) this.pending |= this.match(port, bytes, (kind) => kind === KIND.PORT)
  }

  /**
   * Looks at a data access before it is made: 1 to let it go on, 0 when it faults for its alignment, and for a store
   * that goes aside where in memory it goes. Breakpoints are noted; the trap comes behind the instruction.
   */
  atAccess(bytes: number, isWrite: boolean): number {
    const { view, base, cpl } = this.registers
    const watch = State.watch.get(view, base)
    if ((watch & WATCH.PAGES) !== 0) State.watch.set(view, base, watch | HELD)
    if (this.isImplicit) return 1
    const address = signedFromParts(State.watchedAddress.low(view, base), State.watchedAddress.high(view, base))
    // An address that is not canonical is a fault of its own, which comes first.
    if (!isCanonical(address)) return 1
    if (this.aside !== undefined) return this.aside.access(address, bytes, isWrite)
    if ((watch & WATCH.ALIGNMENT) !== 0 && cpl === 3 &&
      address % (this.alignment ?? alignmentOf(bytes)) !== 0) {
      this.faults.raise(VECTOR.AC)
      return 0
    }
    if ((watch & (WATCH.TRACE | WATCH.NOTED)) !== 0) this.observer!.access(address, bytes, isWrite)
    else if ((watch & WATCH.PAGES) !== 0 && this.atPage(address, bytes, isWrite)) return 0
    this.pending |= this.match(address, bytes, (kind) => kind === KIND.READ_WRITE || (isWrite && kind === KIND.WRITE))
    return 1
  }

  /** Asks about an access to a page that is not remembered; true when its instruction is to be begun anew. */
  private atPage(address: number, bytes: number, isWrite: boolean): boolean {
    const { view, base } = this.registers
    const { reads, writes, again } = this.observer!.look(address, bytes, isWrite)
    // Also for the access behind: both ends of a string instruction.
    const held = this.held
    this.held = (reads ? WATCH.HELD_READ : 0) | (writes ? WATCH.HELD_WRITE : 0)
    State.watch.set(view, base, (State.watch.get(view, base) & ~HELD) | held | this.held)
    if (again) State.faultVector.set(view, base, WATCH_AGAIN)
    return again
  }

  /** Has what is looked at told for an instruction that is executed by itself, or no more. */
  note(isNoted: boolean): void {
    const { view, base } = this.registers
    const watch = State.watch.get(view, base)
    if ((watch & WATCH.PAGES) !== 0) State.watch.set(view, base, isNoted ? watch | HELD | WATCH.NOTED : watch & ~WATCH.NOTED)
  }

  /** Decides about the single-step trap behind the instruction at hand, whatever the trap flag was before it. */
  traceAs(isTraced: boolean): void {
    if (isTraced) this.pending |= DR6.BS
    this.isUntraced = true
  }

  private match(address: number, bytes: number, wanted: (kind: number) => boolean): number {
    let bits = 0
    for (const one of this.breakpoints) {
      if (wanted(one.kind) && address < one.address + one.bytes && one.address < address + bytes) bits |= one.bit
    }
    return bits
  }

  /** A debug exception is being raised: DR6 tells why, and general detection ends. */
  raised(bits: number): void {
    const { view, base } = this.registers
    const status = State.debug.at(base, 6)
    State.debug.element.setParts(view, status, (this.low(6) | bits) >>> 0, 0)
    this.pending = 0
    if ((this.low(7) & DR7.GD) !== 0) this.set(7, (this.low(7) & ~DR7.GD) >>> 0, 0)
  }

  /** Registers as after reset. */
  reset(): void {
    for (let i = 0; i < 8; i += 1) this.set(i, i === 6 ? DR6.ONES : i === 7 ? DR7.ONES : 0, 0)
    this.pending = 0
  }
}
