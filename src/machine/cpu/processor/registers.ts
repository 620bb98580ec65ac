/** The public view of a processor's architectural registers. */
import { MSR, RFLAGS } from '../../../x86/index.ts'
import type { Registers, SegmentState } from '../../interface/registers.ts'
import type { Core } from '../core/core.ts'
import { State } from '../layout/state.ts'

/** Registers of one core. */
export class CoreRegisters implements Registers {
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  low(general: number): number {
    return this.core.registers.low(general * 8)
  }

  high(general: number): number {
    return this.core.registers.high(general * 8)
  }

  set(general: number, low: number, high: number): void {
    this.core.registers.setSlot(general * 8, low, high)
  }

  rip(): number {
    return this.core.registers.rip
  }

  keepRip(general: number): void {
    this.core.registers.keepRip(general * 8)
  }

  setRip(low: number, high: number): void {
    if (this.core.registers.long) State.rip.setParts(this.core.registers.view, this.core.registers.base, low, high)
    else this.core.registers.setRip(low)
    if (this.core.events.activity === 'halted') this.core.events.activity = 'running'
  }

  flags(): number {
    return this.core.registers.flags()
  }

  systemFlags(): number {
    return this.core.registers.systemFlags
  }

  setFlags(value: number): void {
    const { registers, mode } = this.core
    const changesAc = ((registers.systemFlags ^ value) & RFLAGS.AC) !== 0
    registers.setFlags(value)
    // Of all flags only AC has a say in what memory may be accessed.
    if (changesAc) mode.updatePermissions()
  }

  selector(index: number): number {
    return this.core.registers.selector(index)
  }

  attributes(index: number): number {
    return this.core.registers.attributes(index)
  }

  segment(index: number): SegmentState {
    return this.core.registers.segment(index)
  }

  setSegment(index: number, state: SegmentState): void {
    this.core.mode.setSegment(index, state)
  }

  controlLow(index: number): number {
    return this.core.registers.controlLow(index)
  }

  controlHigh(index: number): number {
    return State.control.element.high(this.core.registers.view, State.control.at(this.core.registers.base, index))
  }

  setControl(index: number, low: number, high: number): void {
    this.core.mode.setControl(index, low, high)
  }

  kernelGsBaseLow(): number {
    return State.kernelGsBase.low(this.core.registers.view, this.core.registers.base)
  }

  kernelGsBaseHigh(): number {
    return State.kernelGsBase.high(this.core.registers.view, this.core.registers.base)
  }

  setKernelGsBase(low: number, high: number): void {
    State.kernelGsBase.setParts(this.core.registers.view, this.core.registers.base, low, high)
  }

  swapGsBase(): void {
    this.core.registers.swapGsBase()
  }

  tscAux(): number {
    return this.core.system.plain(MSR.TSC_AUX)![0]
  }

  setTscAux(value: number): void {
    this.core.system.setPlain(MSR.TSC_AUX, value, 0)
  }

  xcr0(): number {
    return State.xcr0.get(this.core.registers.view, this.core.registers.base)
  }

  setXcr0(value: number): void {
    this.core.mode.setXcr0(value)
  }

  debugLow(index: number): number {
    return State.debug.element.low(this.core.registers.view, State.debug.at(this.core.registers.base, index))
  }

  debugHigh(index: number): number {
    return State.debug.element.high(this.core.registers.view, State.debug.at(this.core.registers.base, index))
  }

  setDebug(index: number, low: number, high: number): void {
    this.core.debug.set(index, low, high)
  }
}
