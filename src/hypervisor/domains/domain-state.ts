/**
 * What a domain's and a vCPU's saved state looks like: what stands in domain.ts, and nothing of the parts that keep a
 * domain's frames, ports, grants and places in the scheduler, nor of its kind of guest.
 */
import { COMPAT, LAST_DOMID, NATIVE } from '../../abi/index.ts'
import { type StateOf, shape } from '../../util/index.ts'
import type { CpuidAnswer } from '../../x86/index.ts'
import { domainTscShape, runstateShape, vcpuTimersShape, watchdogsShape } from '../time/index.ts'
import { crashReportShape } from './crash-report.ts'

const frame = /* @__PURE__ */ shape.whole(-1, 0xffff_ffff)
const count = /* @__PURE__ */ shape.whole(0, 2 ** 40)
const numbers = /* @__PURE__ */ shape.list(shape.word, 2 ** 17)

/** Facts about a domain that never change. */
export const domainFactsShape = /* @__PURE__ */ shape.record({
  domid: /* @__PURE__ */ shape.whole(0, LAST_DOMID), kind: /* @__PURE__ */ shape.text(64), privileged: shape.flag,
  handle: /* @__PURE__ */ shape.array(Uint8Array, 16), vcpus: /* @__PURE__ */ shape.whole(1, 128),
  maxPort: /* @__PURE__ */ shape.whole(0, 0x1_ffff), sharedInfoFrame: shape.word,
  maxGrantFrames: /* @__PURE__ */ shape.whole(0, 2 ** 20), maxMaptrackFrames: /* @__PURE__ */ shape.whole(0, 2 ** 20),
  maxVersion: /* @__PURE__ */ shape.whole(1, 2),
})

/** Facts about a saved domain. */
export type SavedDomainFacts = StateOf<typeof domainFactsShape>

const memoryRangeShape = /* @__PURE__ */ shape.record({
  addressLow: shape.word, addressHigh: shape.word, sizeLow: shape.word, sizeHigh: shape.word, type: shape.word,
})

const answerShape = /* @__PURE__ */ shape.tuple<CpuidAnswer>(shape.word, shape.word, shape.word, shape.word)

/** What a saved vCPU looks like. */
export const vcpuShape = /* @__PURE__ */ shape.record({
  infoAddress: /* @__PURE__ */ shape.whole(-1, 2 ** 44), infoFrame: frame, initialised: shape.flag, online: shape.flag, blocked: shape.flag,
  polling: shape.flag, polledPorts: /* @__PURE__ */ shape.optional(numbers), pauseCount: count,
  pinnedFrom: /* @__PURE__ */ shape.optional(numbers), queued: shape.flag, runstate: runstateShape, timers: vcpuTimersShape,
  /** Addresses of the guest's: signed numbers. */
  runstateArea: /* @__PURE__ */ shape.optional(shape.number), timeArea: /* @__PURE__ */ shape.optional(shape.number),
  lastRun: shape.time, lastCpu: shape.word,
  /** -Infinity before the first. */
  timeWritten: shape.number,
})

/** A vCPU as plain data. */
export type VcpuState = StateOf<typeof vcpuShape>

const toolsShape = /* @__PURE__ */ shape.record({
  hasVcpus: shape.flag, isDebugged: shape.flag, isXenstore: shape.flag, pagingBytes: /* @__PURE__ */ shape.whole(0, 2 ** 52), clockPorts: /* @__PURE__ */ shape.whole(0, 3),
})

/** What a saved domain looks like. */
export const domainShape = /* @__PURE__ */ shape.record({
  maxPages: count, totalPages: count, sharedPages: count, outstandingPages: count, timeOffset: /* @__PURE__ */ shape.whole(-(2 ** 31), 2 ** 31), pauseCount: count, dying: shape.flag, isShutDown: shape.flag,
  shutdownReason: shape.word, shutdownCode: /* @__PURE__ */ shape.whole(-1, 0xffff_ffff),
  crashReport: /* @__PURE__ */ shape.optional(crashReportShape), suspendFrame: frame, assists: /* @__PURE__ */ shape.whole(-(2 ** 31), 0xffff_ffff),
  hidesMachineToPhys: shape.flag, memoryMap: /* @__PURE__ */ shape.list(memoryRangeShape, 4096), eoiFrame: frame,
  cpuPolicy: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(/* @__PURE__ */ shape.text(32), answerShape), 4096)),
  logDirty: shape.flag, tools: toolsShape, tsc: domainTscShape, abi: /* @__PURE__ */ shape.oneOf(NATIVE.width, COMPAT.width), watchdogs: watchdogsShape, vcpus: /* @__PURE__ */ shape.list(vcpuShape, 128, 1),
})

/** A domain as plain data. */
export type DomainState = StateOf<typeof domainShape>
