/**
 * What a virtual CPU of a PV guest is beyond its processor's registers and its tables, whether its kernel is one of 64 bits
 * or of 32: virtual trap table, entry points, kernel stack, what the guest is shown of control registers.
 * Reference: xen/arch/x86/include/asm/domain.h, struct pv_vcpu.
 */
import { shape, sameFields } from '../../../util/index.ts'
import type { ProcessorState } from '../../../machine/index.ts'
import { type TrapNote, trapNoteFields } from '../../domains/crash-report.ts'
import type { Shape, StateOf } from '../../../util/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { PagedVcpu } from '../direct-paging/paged-vcpu.ts'

/** One entry point of the guest: an address in halves; both 0 when it has none. */
export interface EntryPoint {
  low: number
  high: number
}

/** An entry point that is none yet. */
export const entryPoint = (): EntryPoint => ({ low: 0, high: 0 })

/** One handler of the virtual trap table; its address in halves. */
export interface Trap {
  readonly flags: number
  readonly cs: number
  readonly low: number
  readonly high: number
}

const entry = /* @__PURE__ */ shape.record({ low: shape.word, high: shape.word })
/** The shape of an entry point. */
export const entryShape = entry
const descriptorFrames = /* @__PURE__ */ shape.array(Int32Array, 16)
/** As far as any processor has them; what this one offers its own part knows. */
const xcr0Bits = /* @__PURE__ */ shape.whole(0, 7)
const processor: Shape<ProcessorState> = (value) => (typeof value === 'object' && value !== null ? undefined : ' must be a record')

/**
 * What a saved PV vCPU of either kind has: its processor's state, which the processor checks itself, and what stands around it.
 * References on tables and descriptor pages lie in the frame table.
 */
export const paravirtualFields = {
  processor,
  trapSelector: /* @__PURE__ */ shape.array(Uint16Array, 256), trapFlags: /* @__PURE__ */ shape.array(Uint8Array, 256),
  trapLow: /* @__PURE__ */ shape.array(Uint32Array, 256), trapHigh: /* @__PURE__ */ shape.array(Uint32Array, 256),
  kernelSs: shape.word, kernelSp: entry, eventCallback: entry, failsafeCallback: entry, syscall32Callback: entry,
  sysenterCallback: entry, failsafeMasksEvents: shape.flag, syscall32MasksEvents: shape.flag,
  sysenterMasksEvents: shape.flag, syscall32Selector: shape.word, sysenterSelector: shape.word, gdtFrames: descriptorFrames, gdtEntries: /* @__PURE__ */ shape.whole(0, 8192),
  ldtBase: shape.number, ldtEntries: /* @__PURE__ */ shape.whole(0, 8192), ldtFrames: descriptorFrames,
  iopl: /* @__PURE__ */ shape.where(/* @__PURE__ */ shape.whole(0, 0x3000), (iopl) => (iopl % 0x1000 === 0 ? undefined : 'is no privilege level')), taskSwitched: shape.flag, xcr0: xcr0Bits, xcr0Accumulated: xcr0Bits, cr2: entry, cr4: entry, ioBitmap: entry,
  ioBitmapLimit: /* @__PURE__ */ shape.whole(0, 65536), nmiMasked: shape.flag, nmiPending: shape.flag,
  lastTrap: /* @__PURE__ */ shape.record(trapNoteFields), flushedAt: shape.time,
} as const

const paravirtualShape = /* @__PURE__ */ shape.record(paravirtualFields)
/** That of a saved PV vCPU which both kinds have. */
export type ParavirtualState = StateOf<typeof paravirtualShape>

/** Fields that are rows of numbers, and those that are records of their own. */
const ROWS = ['trapSelector', 'trapFlags', 'trapLow', 'trapHigh', 'gdtFrames', 'ldtFrames'] as const
const RECORDS = [
  'kernelSp', 'eventCallback', 'failsafeCallback', 'syscall32Callback', 'sysenterCallback', 'cr2', 'cr4', 'ioBitmap', 'lastTrap',
] as const

const APART: ReadonlySet<string> = /* @__PURE__ */ new Set(['processor'])

/** State of one PV virtual CPU around its processor. */
export abstract class ParavirtualVcpu extends PagedVcpu {
  /** The processor should have the rights of a process and no more. */
  abstract readonly isUser: boolean
  /** Virtual trap table by vector: 0 as address means that the guest handles it not. */
  readonly trapSelector: Uint16Array = new Uint16Array(256)
  readonly trapFlags: Uint8Array = new Uint8Array(256)
  readonly trapLow: Uint32Array = new Uint32Array(256)
  readonly trapHigh: Uint32Array = new Uint32Array(256)
  kernelSs = 0
  readonly kernelSp = entryPoint()
  readonly eventCallback = entryPoint()
  readonly failsafeCallback = entryPoint()
  readonly syscall32Callback = entryPoint()
  readonly sysenterCallback = entryPoint()
  /** Their code segments: those that a 32-bit kernel chooses, and of a 64-bit one what its tools set, which nothing asks. */
  syscall32Selector = 0
  sysenterSelector = 0
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

  /** Remembers an exception that is about to be sent to the guest. */
  noteTrap(vector: number, errorCode: number, address: number): void {
    const { lastTrap } = this
    lastTrap.vector = vector
    lastTrap.errorCode = errorCode
    lastTrap.address = address
    lastTrap.rip = this.processor.registers.rip()
    lastTrap.fromUser = !this.inKernel
  }

  /** Sets one entry of the virtual trap table. */
  setTrap(vector: number, trap: Trap): void {
    this.trapSelector[vector] = trap.cs
    this.trapFlags[vector] = trap.flags
    this.trapLow[vector] = trap.low
    this.trapHigh[vector] = trap.high
  }

  /** What both kinds have, as plain data. */
  protected saveCommon(): ParavirtualState {
    const {
      kernelSs, failsafeMasksEvents, syscall32MasksEvents, sysenterMasksEvents, gdtEntries, ldtBase, ldtEntries, iopl, taskSwitched,
      xcr0, xcr0Accumulated, ioBitmapLimit, nmiMasked, nmiPending, flushedAt, syscall32Selector, sysenterSelector,
    } = this
    return {
      processor: this.processor.save(), kernelSs, failsafeMasksEvents, syscall32MasksEvents, sysenterMasksEvents, gdtEntries, ldtBase,
      ldtEntries, iopl, taskSwitched, xcr0, xcr0Accumulated, ioBitmapLimit, nmiMasked, nmiPending, flushedAt, syscall32Selector, sysenterSelector,
      trapSelector: this.trapSelector.slice(), trapFlags: this.trapFlags.slice(), trapLow: this.trapLow.slice(),
      trapHigh: this.trapHigh.slice(), gdtFrames: this.gdtFrames.slice(), ldtFrames: this.ldtFrames.slice(),
      kernelSp: { ...this.kernelSp }, eventCallback: { ...this.eventCallback }, failsafeCallback: { ...this.failsafeCallback },
      syscall32Callback: { ...this.syscall32Callback }, sysenterCallback: { ...this.sysenterCallback }, cr2: { ...this.cr2 },
      cr4: { ...this.cr4 }, ioBitmap: { ...this.ioBitmap }, lastTrap: { ...this.lastTrap },
    }
  }

  /** Whether all of it is what was saved, but for what a kind compares apart. */
  protected isCommonAsSaved(state: ParavirtualState): boolean {
    return sameFields(this, state, APART) && this.processor.isAsSaved(state.processor)
  }

  /** Takes it back; the processor looks at its own part before anything has changed. */
  protected loadCommon(state: ParavirtualState): void {
    this.processor.load(state.processor)
    const plain = Object.fromEntries(Object.entries(state).filter(([name, value]) => name !== 'processor' && typeof value !== 'object'))
    Object.assign(this, plain)
    for (const row of ROWS) (this[row] as Uint32Array).set(state[row])
    for (const record of RECORDS) Object.assign(this[record], state[record])
  }
}

/** What a PV guest of either kind has of a vCPU; undefined for one of another kind, and for one that has no registers yet. */
export const paravirtualOf = ({ guest }: Vcpu): ParavirtualVcpu | undefined => (guest instanceof ParavirtualVcpu ? guest : undefined)

/** Sets an entry point. */
export function setEntry(point: EntryPoint, low: number, high: number): void {
  point.low = low >>> 0
  point.high = high >>> 0
}
