/**
 * A processor's registers as TypeScript sees them: slots, flags, segments and control registers in the processor's area of
 * linear memory, where generated code keeps them. Reading has no effect and writing none beyond the register; what
 * follows from a change of segments, control registers and EFER is in mode.ts.
 */
import { EFER, RFLAGS, SEGMENT, dplOf } from '../../../x86/index.ts'
import { highPart, lowPart, signedFromParts } from '../../../util/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { readFlags, writeFlags } from '../layout/flag-word.ts'
import { MODE, SEGMENT_SLOT, SLOT, State } from '../layout/state.ts'

/** Lowest bit of RFLAGS.IOPL. */
const IOPL_UNIT = RFLAGS.IOPL & -RFLAGS.IOPL

/** Registers of one processor. */
export class RegisterFile {
  readonly view: DataView
  /** Where the processor's area begins. */
  base: number
  /** EFER; a hosted processor is in long mode for good. */
  efer = 0
  /** Segment bases as loaded; the slots hold 0 where 64-bit mode ignores them. */
  private readonly bases = new Float64Array(6)
  private readonly physical: MachineMemory
  private readonly bare: boolean

  constructor(physical: MachineMemory, base: number, bare: boolean) {
    this.physical = physical
    this.bare = bare
    this.view = physical.view
    this.base = base
  }

  /** All bytes of the machine's memory, in which the area lies. */
  get bytes(): Uint8Array {
    return this.physical.bytes
  }

  /**
   * Current privilege level: that of the stack segment's descriptor, as any selector may stand in real mode. A hosted
   * processor's host decides by the selector.
   */
  get cpl(): number {
    return this.bare ? dplOf(this.attributes(SEGMENT.ss)) : this.selector(SEGMENT.ss) & 3
  }

  selector(index: number): number {
    return State.selectors.element.get(this.view, State.selectors.at(this.base, index))
  }

  /** Descriptor bits of a segment as they are loaded. */
  attributes(index: number): number {
    return State.attributes.element.get(this.view, State.attributes.at(this.base, index))
  }

  /** Limit of a segment in bytes. */
  limit(index: number): number {
    return State.limits.element.get(this.view, State.limits.at(this.base, index))
  }

  /** True while 64-bit code runs. */
  get long(): boolean {
    return (State.mode.get(this.view, this.base) & MODE.SIZE) === MODE.CODE64
  }

  /** True while EFER.LMA is set: system descriptors and gates are those of long mode. */
  get isLongMode(): boolean {
    return (this.efer & EFER.LMA) !== 0
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

  /** Sets a slot to a whole number (two's complement when negative). */
  setNumber(slot: number, value: number): void {
    this.setSlot(slot, lowPart(value), highPart(value))
  }

  /** A slot as a signed number: exact for canonical addresses. */
  address(slot: number): number {
    return signedFromParts(this.low(slot), this.high(slot))
  }

  /** Linear address of the instruction pointer. */
  get linearRip(): number {
    return signedFromParts(State.rip.low(this.view, this.base), State.rip.high(this.view, this.base))
  }

  /** RIP, or EIP: the offset in the code segment. */
  get rip(): number {
    return this.long ? this.linearRip : (this.linearRip - this.low(SLOT.cs)) >>> 0
  }

  /** Puts RIP, or EIP, into a general register's slot. */
  keepRip(slot: number): void {
    const { view, base } = this
    const low = State.rip.low(view, base)
    if (this.long) this.setSlot(slot, low, State.rip.high(view, base))
    else this.setSlot(slot, (low - this.low(SLOT.cs)) >>> 0, 0)
  }

  /** Goes on at an offset in the code segment. */
  setRip(address: number): void {
    this.goTo(this.long ? address : address + this.low(SLOT.cs))
  }

  /** Goes on at a linear address. */
  goTo(linear: number): void {
    State.rip.setParts(this.view, this.base, lowPart(linear), this.long ? highPart(linear) : 0)
  }

  /** RFLAGS without the six arithmetic flags, which need no working out. */
  get systemFlags(): number {
    return State.systemFlags.get(this.view, this.base)
  }

  /** RFLAGS with the lazily kept flags worked out. */
  flags(): number {
    return readFlags(this.view, this.base)
  }

  /** Sets all flags. */
  setFlags(flags: number): void {
    writeFlags(this.view, this.base, flags)
  }

  /** I/O privilege level, out of RFLAGS. */
  get iopl(): number {
    return (this.flags() & RFLAGS.IOPL) / IOPL_UNIT
  }

  /** Control register, low half. */
  controlLow(index: number): number {
    return State.control.element.low(this.view, State.control.at(this.base, index))
  }

  /** Control register, high half. */
  controlHigh(index: number): number {
    return State.control.element.high(this.view, State.control.at(this.base, index))
  }

  /** Base of a segment other than FS and GS as it was loaded. */
  segmentBase(index: number): number {
    return this.bases[index]!
  }

  /** Exchanges the base of GS with the one behind KERNEL_GS_BASE. */
  swapGsBase(): void {
    const { view, base } = this
    const low = this.low(SLOT.gs)
    const high = this.high(SLOT.gs)
    this.setSlot(SLOT.gs, State.kernelGsBase.low(view, base), State.kernelGsBase.high(view, base))
    State.kernelGsBase.setParts(view, base, low, high)
  }

  /** Reads a hidden segment register. */
  segment(index: number): SegmentState {
    const start = this.bases[index]!
    const slot = SEGMENT_SLOT[index]!
    const wide = index >= SEGMENT.fs
    return {
      selector: this.selector(index),
      baseLow: wide ? this.low(slot) : lowPart(start),
      baseHigh: wide ? this.high(slot) : 0,
      limit: this.limit(index),
      attributes: this.attributes(index),
    }
  }

  /** Writes a hidden segment register and nothing else: mode.ts draws the consequences. */
  writeSegment(index: number, state: SegmentState): void {
    const { view, base } = this
    State.selectors.element.set(view, State.selectors.at(base, index), state.selector)
    State.limits.element.set(view, State.limits.at(base, index), state.limit)
    State.attributes.element.set(view, State.attributes.at(base, index), state.attributes)
    this.bases[index] = state.baseLow >>> 0
    if (index >= SEGMENT.fs) this.setSlot(SEGMENT_SLOT[index]!, state.baseLow, state.baseHigh)
  }
}
