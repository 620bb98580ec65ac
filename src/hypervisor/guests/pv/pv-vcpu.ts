/**
 * What a virtual CPU of a 64-bit PV guest is beyond its processor's registers and its tables: virtual trap table,
 * callbacks, kernel stack, and the way between its two modes. Kernel and user both run in ring 3;
 * the hypervisor switches page tables and GS base between them.
 * Reference: xen/arch/x86/include/asm/domain.h, struct pv_vcpu; xen/arch/x86/pv/domain.c, toggle_guest_mode.
 */
import { FLAT } from '../../../abi/index.ts'
import type { SegmentState } from '../../../machine/index.ts'
import { PAGE_SHIFT, SEGMENT } from '../../../x86/index.ts'
import { type Stateful, badState } from '../../../util/index.ts'
import type { TrapNote } from '../../domains/crash-report.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'
import { PagedVcpu } from '../direct-paging/paged-vcpu.ts'
import { PV_RECORDS, PV_ROWS, type PvState } from './pv-state.ts'

/** One entry point of the guest: an address in halves; both 0 when it has none. */
export interface EntryPoint {
  low: number
  high: number
}

const entryPoint = (): EntryPoint => ({ low: 0, high: 0 })

/** One handler of the virtual trap table; its address in halves. */
export interface Trap {
  readonly flags: number
  readonly cs: number
  readonly low: number
  readonly high: number
}

/** Flat 64-bit code in ring 3. */
export const FLAT_CODE_64: SegmentState = {
  selector: FLAT.KERNEL_CS64, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xa0fb,
}
/** Flat 32-bit code in ring 3. */
export const FLAT_CODE_32: SegmentState = {
  selector: FLAT.USER_CS32, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0fb,
}
/** Flat data in ring 3. */
export const FLAT_DATA: SegmentState = {
  selector: FLAT.KERNEL_SS, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0f3,
}
/** An empty data segment register. */
export const NULL_SEGMENT: SegmentState = { selector: 0, baseLow: 0, baseHigh: 0, limit: 0, attributes: 0 }

/** State of one PV virtual CPU around its processor. */
export class PvVcpu extends PagedVcpu implements Stateful<PvState> {
  readonly topType = FRAME_TYPE.L4
  /** Frame of the kernel's top-level table; 0 for none. */
  kernelTable = 0
  inKernel = true
  /** Virtual trap table by vector: 0 as address means that the guest handles it not. */
  readonly trapSelector: Uint16Array = new Uint16Array(256)
  readonly trapFlags: Uint8Array = new Uint8Array(256)
  readonly trapLow: Uint32Array = new Uint32Array(256)
  readonly trapHigh: Uint32Array = new Uint32Array(256)
  kernelSs = 0
  readonly kernelSp = entryPoint()
  readonly eventCallback = entryPoint()
  readonly failsafeCallback = entryPoint()
  readonly syscallCallback = entryPoint()
  readonly syscall32Callback = entryPoint()
  readonly sysenterCallback = entryPoint()
  syscallMasksEvents = false
  failsafeMasksEvents = false
  syscall32MasksEvents = false
  sysenterMasksEvents = false
  /** I/O privilege level that the guest has set, in RFLAGS position. */
  iopl = 0
  /** The guest's view of CR0.TS, CR2 and CR4. */
  taskSwitched = false
  readonly cr2 = entryPoint()
  readonly cr4 = entryPoint()
  /** XCR0 as the guest has set it, 0 before that, and all bits that it ever had. */
  xcr0 = 0
  xcr0Accumulated = 0
  /** I/O permission bitmap that the guest keeps for user mode. */
  readonly ioBitmap = entryPoint()
  ioBitmapLimit = 0
  /** An NMI is being handled: until the next iret no other is delivered. */
  nmiMasked = false
  nmiPending = false
  readonly lastTrap: TrapNote = { vector: -1, errorCode: 0, address: 0, rip: 0, fromUser: false }

  get root(): number {
    return this.inKernel ? this.kernelTable : this.userTable
  }

  get topTable(): number {
    return this.kernelTable
  }

  set topTable(frame: number) {
    this.kernelTable = frame
  }

  /** Changes between kernel and user mode: GS bases and page tables change places. */
  toggleMode(): void {
    this.processor.registers.swapGsBase()
    this.inKernel = !this.inKernel
    this.loadRoot()
  }

  /** Whether the guest's kernel takes SYSCALL of 64-bit code, or of shorter code. */
  hasSyscallEntry(fromLongCode: boolean): boolean {
    const { low, high } = fromLongCode ? this.syscallCallback : this.syscall32Callback
    return low !== 0 || high !== 0
  }

  /** Remembers an exception that is about to be sent to the guest. */
  noteTrap(vector: number, errorCode: number, address: number): void {
    const { lastTrap } = this
    lastTrap.vector = vector
    lastTrap.errorCode = errorCode
    lastTrap.address = address
    lastTrap.rip = this.processor.registers.rip()
    lastTrap.fromUser = !this.inKernel
  }

  save(): PvState {
    const {
      kernelTable, userTable, inKernel, kernelSs, syscallMasksEvents, failsafeMasksEvents, syscall32MasksEvents, sysenterMasksEvents,
      gdtEntries, ldtBase, ldtEntries, iopl, taskSwitched, xcr0, xcr0Accumulated, ioBitmapLimit, nmiMasked, nmiPending, flushedAt,
    } = this
    return {
      processor: this.processor.save(), kernelTable, userTable, inKernel, kernelSs, syscallMasksEvents, failsafeMasksEvents,
      syscall32MasksEvents, sysenterMasksEvents, gdtEntries, ldtBase, ldtEntries, iopl, taskSwitched, xcr0, xcr0Accumulated, ioBitmapLimit, nmiMasked,
      nmiPending, flushedAt,
      trapSelector: this.trapSelector.slice(), trapFlags: this.trapFlags.slice(), trapLow: this.trapLow.slice(),
      trapHigh: this.trapHigh.slice(), gdtFrames: this.gdtFrames.slice(), ldtFrames: this.ldtFrames.slice(),
      kernelSp: { ...this.kernelSp }, eventCallback: { ...this.eventCallback }, failsafeCallback: { ...this.failsafeCallback },
      syscallCallback: { ...this.syscallCallback }, syscall32Callback: { ...this.syscall32Callback },
      sysenterCallback: { ...this.sysenterCallback }, cr2: { ...this.cr2 }, cr4: { ...this.cr4 }, ioBitmap: { ...this.ioBitmap },
      lastTrap: { ...this.lastTrap },
    }
  }

  /** The processor looks at its own part before anything has changed. */
  load(state: PvState): void {
    const { processor, kernelTable, userTable, inKernel } = state
    const root = inKernel ? kernelTable : userTable
    const control: unknown = processor.control
    if (!Array.isArray(control) || control[4] !== (root << PAGE_SHIFT) >>> 0 || control[5] !== root >>> 20) {
      throw badState('its processor walks from another table than that of its mode')
    }
    this.processor.load(processor)
    const plain = Object.fromEntries(Object.entries(state).filter(([name, value]) => name !== 'processor' && typeof value !== 'object'))
    Object.assign(this, plain)
    for (const row of PV_ROWS) (this[row] as Uint32Array).set(state[row])
    for (const record of PV_RECORDS) Object.assign(this[record], state[record])
  }

  /** Sets one entry of the virtual trap table. */
  setTrap(vector: number, trap: Trap): void {
    this.trapSelector[vector] = trap.cs
    this.trapFlags[vector] = trap.flags
    this.trapLow[vector] = trap.low
    this.trapHigh[vector] = trap.high
  }
}

/** The PV half of a vCPU; undefined for one of another kind, and for one that has no registers yet. */
export const pvOf = ({ guest }: Vcpu): PvVcpu | undefined => (guest instanceof PvVcpu ? guest : undefined)

/** Sets an entry point. */
export function setEntry(entry: EntryPoint, low: number, high: number): void {
  entry.low = low >>> 0
  entry.high = high >>> 0
}

/** Attributes of a descriptor as {@link SegmentState} carries them. */
const attributesOf = (high: number): number => (high >>> 8) & 0xf0ff

/** Hidden part of a code or data segment from its descriptor. */
export function segmentFromDescriptor(selector: number, low: number, high: number): SegmentState {
  const raw = (low & 0xffff) | (high & 0x000f_0000)
  const limit = (high & (1 << 23)) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw
  const base = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0
  return { selector, baseLow: base, baseHigh: 0, limit, attributes: attributesOf(high) }
}
