/**
 * A processor's inside as TypeScript handlers see it: registers and flags in linear memory, checked access to guest
 * memory, faults, control registers and what follows from them. What instructions do is in handlers/.
 */
import { CR0, CR4, EFER, GPR, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { highPart, lowPart, signedFromParts } from '../../../util/index.ts'
import type { OwnBytes, Random } from '../../../util/index.ts'
import type { PhysicalMemory } from '../../memory/physical-memory.ts'
import type { CpuidSource, DescriptorSource, PortSource, SegmentState, TimestampSource } from '../../interface/processor.ts'
import { readFlags, writeFlags } from '../layout/flag-word.ts'
import { FloatUnits } from './float-units.ts'
import type { InterpreterExports } from '../interpreter/module.ts'
import { SEGMENT_SLOT } from '../lift/lifter.ts'
import type { CoreParts, RequestFields } from './parts.ts'
import { RECORD } from '../layout/record.ts'
import { ACCESS } from '../runtime/tlb.ts'
import { segmentMode, stackAllows } from './segmentation.ts'
import { CONTEXT, JUMP, MODE, PERMISSION, SLOT, STATUS, State, TLB } from '../layout/state.ts'
import { DebugUnit } from './debug.ts'
import { EventUnit } from './events.ts'
import type { Shadow } from './events.ts'
import { SystemRegisters } from './system-registers.ts'
import type { Tracer } from '../tracing/tracer.ts'
import { flushAll, flushOne, forbidWriting } from './translations.ts'

/** Thrown inside a handler when the guest's memory cannot be reached; caught where handlers are called. */
export const GUEST_FAULT = /* @__PURE__ */ Symbol('guest fault')

const choose = (condition: boolean, bit: number): number => (condition ? bit : 0)

/** A code segment's attribute: 64-bit code. */
const LONG_CODE = 0x2000

/** One processor's state and the operations on it. */
export class Core {
  readonly memory: PhysicalMemory
  readonly view: DataView
  base: number
  /** True for a processor that delivers its own interrupts, starting in ring 0. */
  readonly bare: boolean
  readonly descriptors: DescriptorSource | undefined
  readonly timestamp: TimestampSource | undefined
  readonly cpuid: CpuidSource
  readonly ports: PortSource
  /** What RDRAND and RDSEED read. */
  random: Random
  readonly debug: DebugUnit
  readonly events: EventUnit
  readonly system = new SystemRegisters()
  /** Hooks that watch the processor; made with the first. */
  tracer: Tracer | undefined
  /** Soft-float with its scratch space. */
  readonly floats = new FloatUnits()
  readonly request: RequestFields = { operation: 'other', length: 0, size: 0, register: 0, general: 0, port: 0 }
  /** The interpreter for the code at hand. */
  wasm: InterpreterExports
  /** EFER; a hosted processor is in long mode for good. Bits that other state follows from: `setEfer`. */
  efer = 0
  /** Vector of a software interrupt. */
  vector = 0
  /** The budget counts work, not instructions: see ProcessorOptions. */
  readonly countsWork: boolean
  /** Budget of the whole run, and what is kept back from the slice that generated code is executing. */
  startBudget = 0
  keptBudget = 0
  /** Instructions executed in all runs before this one, and in the last that has ended. */
  totalExecuted = 0
  lastExecuted = 0
  /** The interpreter that is running: a change of `wasm` needs the driver. */
  running: InterpreterExports | undefined
  /** Where the host puts a descriptor that is being read. */
  readonly descriptor: Uint32Array = new Uint32Array(2)
  /** Segment bases as loaded; the slots hold 0 where 64-bit mode ignores them. */
  private readonly bases = new Float64Array(6)
  private readonly interpreter: (width: 32 | 64) => InterpreterExports
  private generation = 0

  constructor(parts: CoreParts) {
    this.memory = parts.memory
    this.view = parts.memory.view
    this.base = parts.base
    this.bare = parts.bare
    this.countsWork = parts.countsWork
    this.descriptors = parts.descriptors
    this.timestamp = parts.timestamp
    this.cpuid = parts.cpuid
    this.ports = parts.ports
    this.random = parts.random
    this.debug = new DebugUnit(this)
    this.events = new EventUnit(this)
    this.interpreter = parts.interpreter
    this.wasm = parts.interpreter(64)
  }

  /** True when the driver has to look at what comes between two instructions. */
  get isCareful(): boolean {
    return this.debug.isCareful || this.events.isWaiting || this.isTraced
  }

  /** True while hooks watch the processor. */
  get isTraced(): boolean {
    return this.tracer?.active === true && this.debug.aside === undefined
  }

  /** Holds back interrupts, behind a load of SS debug traps too, for the instruction that follows the record's. */
  castShadow(kind: Shadow, record: number): void {
    this.events.castShadow(kind, this.totalExecuted + this.executedBefore(record) + 1)
  }

  /** Current privilege level. */
  get cpl(): number {
    return this.selector(SEGMENT.ss) & 3
  }

  selector(index: number): number {
    return State.selectors.element.get(this.view, State.selectors.at(this.base, index))
  }

  /** True while 64-bit code runs. */
  get long(): boolean {
    return (State.mode.get(this.view, this.base) & MODE.SIZE) === MODE.CODE64
  }

  low(slot: number): number {
    return this.view.getUint32(this.base + slot, true)
  }

  high(slot: number): number {
    return this.view.getUint32(this.base + slot + 4, true)
  }

  setSlot(slot: number, low: number, high: number): void {
    this.view.setUint32(this.base + slot, low, true)
    this.view.setUint32(this.base + slot + 4, high, true)
  }

  /** A slot as a signed number: exact for canonical addresses. */
  address(slot: number): number {
    return signedFromParts(this.low(slot), this.high(slot))
  }

  /** Fields of the record being executed. */
  field(record: number, name: 'a' | 'b' | 'c' | 'd'): number {
    return this.view.getUint8(record + RECORD[name])
  }

  displacement(record: number): number {
    return this.view.getInt32(record + RECORD.displacement, true)
  }

  instructionLength(record: number): number {
    return this.view.getUint16(record + RECORD.ip, true) >>> 12
  }

  /** Linear address of the record's instruction. */
  instructionAddress(record: number): number {
    return this.address(State.page.offset) + (this.view.getUint16(record + RECORD.ip, true) & 0xfff)
  }

  /** RIP, or EIP: the offset in the code segment. */
  get rip(): number {
    const linear = signedFromParts(State.rip.low(this.view, this.base), State.rip.high(this.view, this.base))
    return this.long ? linear : (linear - this.low(SLOT.cs)) >>> 0
  }

  /** Goes on at an offset in the code segment. */
  setRip(address: number): void {
    this.goTo(this.long ? address : address + this.low(SLOT.cs))
  }

  /** Goes on at a linear address. */
  goTo(linear: number): void {
    State.rip.setParts(this.view, this.base, lowPart(linear), this.long ? highPart(linear) : 0)
  }

  /** Base of a segment other than FS and GS as it was loaded. */
  segmentBase(index: number): number {
    return this.bases[index]!
  }

  /** RFLAGS with the lazily kept flags worked out. */
  flags(): number {
    return readFlags(this.view, this.base)
  }

  /** Sets all flags. */
  setFlags(flags: number): void {
    writeFlags(this.view, this.base, flags)
  }

  /** Reads a hidden segment register. */
  segment(index: number): SegmentState {
    const { view, base } = this
    const start = this.bases[index]!
    const slot = SEGMENT_SLOT[index]!
    const wide = index >= SEGMENT.fs
    return {
      selector: State.selectors.element.get(view, State.selectors.at(base, index)),
      baseLow: wide ? this.low(slot) : lowPart(start),
      baseHigh: wide ? this.high(slot) : 0,
      limit: State.limits.element.get(view, State.limits.at(base, index)),
      attributes: State.attributes.element.get(view, State.attributes.at(base, index)),
    }
  }

  /** Sets selector and hidden part at once, without any check. */
  setSegment(index: number, state: SegmentState): void {
    const { view, base } = this
    const privilege = this.cpl
    State.selectors.element.set(view, State.selectors.at(base, index), state.selector)
    State.limits.element.set(view, State.limits.at(base, index), state.limit)
    State.attributes.element.set(view, State.attributes.at(base, index), state.attributes)
    this.bases[index] = state.baseLow >>> 0
    if (index >= SEGMENT.fs) this.setSlot(SEGMENT_SLOT[index]!, state.baseLow, state.baseHigh)
    // In 64-bit mode the stack's segment is its ring, and one code segment is as good as another.
    const staysLong = this.long && (index !== SEGMENT.cs || (state.attributes & LONG_CODE) !== 0)
    if (!staysLong) this.updateMode()
    else if (this.cpl !== privilege) this.updatePermissions()
  }

  /** Sets what the mode leaves of the segment bases; the instruction pointer keeps its offset in CS. */
  private updateBases(mode: number): void {
    const { rip } = this
    State.mode.set(this.view, this.base, mode)
    for (let index = 0; index < SEGMENT.fs; index += 1) {
      this.setSlot(SEGMENT_SLOT[index]!, this.long ? 0 : this.bases[index]!, 0)
    }
    this.setRip(rip)
    this.wasm = this.interpreter(this.long ? 64 : 32)
  }

  /** Works out how code is decoded, and what that means for the segment bases. */
  updateMode(): void {
    const { view, base } = this
    const attributes = State.attributes.element.get(view, State.attributes.at(base, SEGMENT.cs))
    const mode = (this.efer & EFER.LMA) !== 0 && (attributes & 0x2000) !== 0 ? MODE.CODE64 : segmentMode(this)
    const cr0 = this.controlLow(0)
    const float = ((cr0 & CR0.TS) !== 0 ? MODE.SWITCHED : 0) | ((cr0 & CR0.EM) !== 0 ? MODE.EMULATED : 0) |
      ((this.controlLow(4) & CR4.OSFXSR) === 0 ? MODE.NO_SSE : 0)
    this.updateBases(mode | float)
    this.updatePermissions()
  }

  private updateContext(): void {
    const [mode, permissions] = [State.mode.get(this.view, this.base), State.permissions.get(this.view, this.base)]
    const key = (this.generation << CONTEXT.GENERATION) | choose((permissions & PERMISSION.USER) !== 0, CONTEXT.USER) | mode
    State.context.set(this.view, this.base, key >>> 0)
  }

  /** Control register, low half. */
  controlLow(index: number): number {
    return State.control.element.low(this.view, State.control.at(this.base, index))
  }

  /** Writes a control register without checks. */
  setControl(index: number, low: number, high: number): void {
    State.control.element.setParts(this.view, State.control.at(this.base, index), low, high)
    if (index === 0 && this.bare) this.followPaging()
    if (index === 0 || index === 4) this.updateMode()
    if (index === 0 || index === 3 || index === 4) {
      this.updatePermissions()
      this.flushTlb()
    }
  }

  /** Long mode is active while it is enabled and paging is on. */
  private followPaging(): void {
    const active = (this.controlLow(0) & CR0.PG) !== 0 && (this.efer & EFER.LME) !== 0
    this.efer = active ? this.efer | EFER.LMA : this.efer & ~EFER.LMA
  }

  /** Writes EFER without checks; LMA follows from paging. */
  setEfer(value: number): void {
    this.efer = value
    this.followPaging()
    this.updateMode()
    this.flushTlb()
  }

  /** Works out what the memory path has to know from control registers, EFER and privilege level. */
  updatePermissions(user = this.cpl === 3): void {
    const { view, base } = this
    const [cr0, cr4] = [this.controlLow(0), this.controlLow(4)]
    const isAcSet = (State.systemFlags.get(view, base) & RFLAGS.AC) !== 0
    if (isAcSet || State.watch.get(view, base) !== 0) this.debug.updateWatch()
    const long = (this.efer & EFER.LMA) !== 0
    const permissions = choose(user, PERMISSION.USER) | choose((cr0 & CR0.WP) !== 0, PERMISSION.WRITE_PROTECT) |
      choose((this.efer & EFER.NXE) !== 0, PERMISSION.NX) | choose((cr0 & CR0.PG) !== 0, PERMISSION.PAGING) |
      choose(long, PERMISSION.LONG) | choose(long || (cr4 & CR4.PAE) !== 0, PERMISSION.PAE) |
      choose((cr4 & CR4.PSE) !== 0, PERMISSION.PSE) |
      choose(!user && (cr4 & CR4.SMEP) !== 0, PERMISSION.SMEP) |
      choose(!user && (cr4 & CR4.SMAP) !== 0 && !isAcSet, PERMISSION.SMAP)
    // While AC lifts SMAP ordinary rights are remembered, which do not outlast it.
    if ((permissions & ~State.permissions.get(view, base) & PERMISSION.SMAP) !== 0) flushAll(this.memory, base)
    State.permissions.set(view, base, permissions)
    this.updateContext()
    State.bank.set(view, base, base + TLB.offset + (user ? 0 : TLB.bankBytes))
    const pointers = !long && (cr4 & CR4.PAE) !== 0
    State.root.set(view, base, this.controlLow(3) & (pointers ? 0xffff_ffe0 : 0xffff_f000))
  }

  /** Drops all translations and everything keyed by linear address. */
  flushTlb(): void {
    flushAll(this.memory, this.base)
    this.forgetJumps()
  }

  /** Drops the translations of the page that holds `address`. */
  flushPage(address: number): void {
    flushOne(this.memory, this.base, address)
    this.forgetJumps()
  }

  /** Empties the jump cache by taking a new generation. */
  forgetJumps(): void {
    this.generation = (this.generation + 1) & 0xff_ffff
    if (this.generation === 0) {
      this.memory.bytes.fill(0, this.base + JUMP.offset, this.base + JUMP.offset + JUMP.entries * JUMP.entryBytes)
      this.generation = 1
    }
    this.updateContext()
  }

  /** Takes away write permission for a frame from all translations. */
  protectFrame(mfn: number): void {
    forbidWriting(this.memory, this.base, mfn)
  }

  /** Host address of `bytes` bytes for reading; ends the handler with the fault when there is one. */
  hostForRead(address: number, bytes: number): number {
    return this.host(address, this.wasm.forRead, bytes)
  }

  /** The same for writing; `finishWrite` has to follow the write. */
  hostForWrite(address: number, bytes: number): number {
    return this.host(address, this.wasm.forWrite, bytes)
  }

  private host(address: number, access: (base: number, bytes: number) => number, bytes: number): number {
    State.faultAddress.setParts(this.view, this.base, lowPart(address), highPart(address))
    const host = access(this.base, bytes) >>> 0
    if (host === 0) throw GUEST_FAULT
    return host
  }

  /** Carries out a write that went to the scratch area; RELOAD when it hit decoded code. */
  finishWrite(host: number): number {
    return host - this.base < State.size && host >= this.base ? this.wasm.commit(this.base) : STATUS.NEXT
  }

  /** Stack pointer as an address offset. */
  stackPointer(): number {
    return this.long ? this.address(GPR.rsp * 8) : (this.low(GPR.rsp * 8) & this.stackMask) >>> 0
  }

  /** Bits of the stack pointer that count outside of 64-bit mode. */
  get stackMask(): number {
    return State.stackMask.get(this.view, this.base)
  }

  /** Linear address of the stack pointer plus `offset`. */
  stackAddress(offset: number): number {
    if (this.long) return this.address(GPR.rsp * 8) + offset
    return (((this.low(GPR.rsp * 8) + offset) & this.stackMask) + this.low(SLOT.ss)) >>> 0
  }

  /** The same for an access of some bytes; ends the handler with the fault when the stack segment does not allow it. */
  stackPlace(offset: number, bytes: number, access: number = ACCESS.READ): number {
    const from = (this.low(GPR.rsp * 8) + offset) & this.stackMask
    if (!stackAllows(this, from, { bytes, access })) throw GUEST_FAULT
    return this.stackAddress(offset)
  }

  /** Adds to the stack pointer. */
  moveStack(bytes: number): void {
    if (this.long) return this.setNumber(GPR.rsp * 8, this.address(GPR.rsp * 8) + bytes)
    const [old, mask] = [this.low(GPR.rsp * 8), this.stackMask]
    this.setSlot(GPR.rsp * 8, ((old & ~mask) | ((old + bytes) & mask)) >>> 0, 0)
  }

  /** Sets a slot to a whole number (two's complement when negative). */
  setNumber(slot: number, value: number): void {
    this.setSlot(slot, lowPart(value), highPart(value))
  }

  /** Pushes values of `size` bytes, the first at the highest address; nothing happens when one of them would fault. */
  pushNumbers(size: 2 | 4 | 8, values: readonly number[]): number {
    values.forEach((_, i) => this.hostForWrite(this.stackPlace(-size * (i + 1), size, ACCESS.WRITE), size))
    let status: number = STATUS.NEXT
    values.forEach((value, i) => {
      const host = this.hostForWrite(this.stackAddress(-size * (i + 1)), size)
      if (size === 2) this.view.setUint16(host, value & 0xffff, true)
      else this.view.setUint32(host, lowPart(value), true)
      if (size === 8) this.view.setUint32(host + 4, highPart(value), true)
      status |= this.finishWrite(host)
    })
    this.moveStack(-size * values.length)
    return status
  }

  /** A copy of guest memory. */
  readBytes(address: number, count: number): OwnBytes {
    const out = new Uint8Array(count)
    for (let at = 0; at < count; at += 16) {
      const piece = Math.min(16, count - at)
      const host = this.hostForRead(address + at, piece)
      out.set(this.memory.bytes.subarray(host, host + piece), at)
    }
    return out
  }

  /** Writes to guest memory; nothing happens when any of it would fault. */
  writeBytes(address: number, bytes: Uint8Array): number {
    for (let at = 0; at < bytes.length; at += 16) this.hostForWrite(address + at, Math.min(16, bytes.length - at))
    let status: number = STATUS.NEXT
    for (let at = 0; at < bytes.length; at += 16) {
      const piece = bytes.subarray(at, at + 16)
      const host = this.hostForWrite(address + at, piece.length)
      this.memory.bytes.set(piece, host)
      status |= this.finishWrite(host)
    }
    return status
  }

  /** Reads 64 bits of guest memory into a slot, every bit of it. */
  loadSlot(slot: number, address: number): void {
    const host = this.hostForRead(address, 8)
    this.setSlot(slot, this.view.getUint32(host, true), this.view.getUint32(host + 4, true))
  }

  readByte(address: number): number {
    return this.view.getUint8(this.hostForRead(address, 1))
  }

  read16(address: number): number {
    return this.view.getUint16(this.hostForRead(address, 2), true)
  }

  read32(address: number): number {
    return this.view.getUint32(this.hostForRead(address, 4), true)
  }

  /** 64 bits as a signed number. */
  read64(address: number): number {
    const host = this.hostForRead(address, 8)
    return signedFromParts(this.view.getUint32(host, true), this.view.getUint32(host + 4, true))
  }

  writeByte(address: number, value: number): number {
    const host = this.hostForWrite(address, 1)
    this.view.setUint8(host, value)
    return this.finishWrite(host)
  }

  write32(address: number, value: number): number {
    const host = this.hostForWrite(address, 4)
    this.view.setUint32(host, value, true)
    return this.finishWrite(host)
  }

  /** Host address of a byte for one of ACCESS, 0 on a fault. */
  translate(address: number, access: number): number {
    State.faultAddress.setParts(this.view, this.base, lowPart(address), highPart(address))
    return this.wasm.translate(this.base, access) >>> 0
  }

  /** Ends a handler with an exception. */
  raise(vector: number, code = 0): number {
    State.faultVector.set(this.view, this.base, vector)
    State.faultCode.set(this.view, this.base, code)
    return STATUS.FAULT
  }

  undefinedOpcode(): number {
    return this.raise(VECTOR.UD)
  }

  protection(code = 0): number {
    return this.raise(VECTOR.GP, code)
  }

  /** Leaves an instruction to the host. */
  privileged(operation: string, record: number, fields: Partial<RequestFields> = {}): number {
    Object.assign(this.request, { size: 0, register: 0, general: 0, port: 0 }, fields)
    this.request.operation = operation
    this.request.length = this.instructionLength(record)
    return STATUS.PRIVILEGED
  }

  /** Instructions executed so far in this run, up to and without the record's. */
  executedBefore(record: number): number {
    const left = State.budget.get(this.view, this.base) + this.wasm.remaining(record) + 1
    return this.startBudget - this.keptBudget - left
  }
}
