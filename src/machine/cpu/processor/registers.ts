/** The public view of a processor's architectural registers. */
import { MSR } from '../../../x86/index.ts'
import type { Registers, SegmentState } from '../../interface/processor.ts'
import type { Core } from '../core/core.ts'
import { State } from '../layout/state.ts'

/** Registers of one core. */
export class CoreRegisters implements Registers {
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  low(general: number): number {
    return this.core.low(general * 8)
  }

  high(general: number): number {
    return this.core.high(general * 8)
  }

  set(general: number, low: number, high: number): void {
    this.core.setSlot(general * 8, low, high)
  }

  rip(): number {
    return this.core.rip
  }

  setRip(low: number, high: number): void {
    if (this.core.long) State.rip.setParts(this.core.view, this.core.base, low, high)
    else this.core.setRip(low)
    if (this.core.events.activity === 'halted') this.core.events.activity = 'running'
  }

  flags(): number {
    return this.core.flags()
  }

  setFlags(value: number): void {
    this.core.setFlags(value)
    this.core.updatePermissions()
  }

  segment(index: number): SegmentState {
    return this.core.segment(index)
  }

  setSegment(index: number, state: SegmentState): void {
    this.core.setSegment(index, state)
  }

  controlLow(index: number): number {
    return this.core.controlLow(index)
  }

  controlHigh(index: number): number {
    return State.control.element.high(this.core.view, State.control.at(this.core.base, index))
  }

  setControl(index: number, low: number, high: number): void {
    this.core.setControl(index, low, high)
  }

  kernelGsBaseLow(): number {
    return State.kernelGsBase.low(this.core.view, this.core.base)
  }

  kernelGsBaseHigh(): number {
    return State.kernelGsBase.high(this.core.view, this.core.base)
  }

  setKernelGsBase(low: number, high: number): void {
    State.kernelGsBase.setParts(this.core.view, this.core.base, low, high)
  }

  tscAux(): number {
    return this.core.system.plain(MSR.TSC_AUX)![0]
  }

  setTscAux(value: number): void {
    this.core.system.setPlain(MSR.TSC_AUX, value, 0)
  }

  debugLow(index: number): number {
    return State.debug.element.low(this.core.view, State.debug.at(this.core.base, index))
  }

  debugHigh(index: number): number {
    return State.debug.element.high(this.core.view, State.debug.at(this.core.base, index))
  }

  setDebug(index: number, low: number, high: number): void {
    this.core.debug.set(index, low, high)
  }
}
