/**
 * What a PV vCPU's saved state looks like: its processor's, which the processor checks itself, and what stands around it.
 * References on tables and descriptor pages lie in the frame table.
 */
import type { ProcessorState } from '../../../machine/index.ts'
import { type Shape, type StateOf, shape } from '../../../util/index.ts'
import { trapNoteFields } from '../../domains/crash-report.ts'

const entry = /* @__PURE__ */ shape.record({ low: shape.word, high: shape.word })
const descriptorFrames = /* @__PURE__ */ shape.array(Int32Array, 16)
/** As far as any processor has them; what this one offers its own part knows. */
const xcr0Bits = /* @__PURE__ */ shape.whole(0, 7)
const processor: Shape<ProcessorState> = (value) => (typeof value === 'object' && value !== null ? undefined : ' must be a record')

/** What a saved PV vCPU looks like. */
export const pvShape = /* @__PURE__ */ shape.record({
  processor,
  kernelTable: shape.word, userTable: shape.word, inKernel: shape.flag,
  trapSelector: /* @__PURE__ */ shape.array(Uint16Array, 256), trapFlags: /* @__PURE__ */ shape.array(Uint8Array, 256),
  trapLow: /* @__PURE__ */ shape.array(Uint32Array, 256), trapHigh: /* @__PURE__ */ shape.array(Uint32Array, 256),
  kernelSs: shape.word, kernelSp: entry, eventCallback: entry, failsafeCallback: entry, syscallCallback: entry, syscall32Callback: entry,
  sysenterCallback: entry, syscallMasksEvents: shape.flag, failsafeMasksEvents: shape.flag, syscall32MasksEvents: shape.flag,
  sysenterMasksEvents: shape.flag, gdtFrames: descriptorFrames, gdtEntries: /* @__PURE__ */ shape.whole(0, 8192),
  ldtBase: shape.number, ldtEntries: /* @__PURE__ */ shape.whole(0, 8192), ldtFrames: descriptorFrames,
  iopl: /* @__PURE__ */ shape.where(/* @__PURE__ */ shape.whole(0, 0x3000), (iopl) => (iopl % 0x1000 === 0 ? undefined : 'is no privilege level')), taskSwitched: shape.flag, xcr0: xcr0Bits, xcr0Accumulated: xcr0Bits, cr2: entry, cr4: entry, ioBitmap: entry,
  ioBitmapLimit: /* @__PURE__ */ shape.whole(0, 65536), nmiMasked: shape.flag, nmiPending: shape.flag,
  lastTrap: /* @__PURE__ */ shape.record(trapNoteFields), flushedAt: shape.time,
})

/** A PV vCPU as plain data. */
export type PvState = StateOf<typeof pvShape>

/** Fields that are rows of numbers, and those that are records of their own. */
export const PV_ROWS = ['trapSelector', 'trapFlags', 'trapLow', 'trapHigh', 'gdtFrames', 'ldtFrames'] as const
/** See {@link PV_ROWS}. */
export const PV_RECORDS = [
  'kernelSp', 'eventCallback', 'failsafeCallback', 'syscallCallback', 'syscall32Callback', 'sysenterCallback', 'cr2', 'cr4', 'ioBitmap',
  'lastTrap',
] as const
