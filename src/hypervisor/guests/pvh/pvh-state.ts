/** What a PVH vCPU's saved state looks like: its processor's, which the processor checks itself, and what stands around it. */
import type { ProcessorState } from '../../../machine/index.ts'
import { type Shape, type StateOf, shape } from '../../../util/index.ts'
import { trapNoteFields } from '../../domains/crash-report.ts'

const processor: Shape<ProcessorState> = (value) => (typeof value === 'object' && value !== null ? undefined : ' must be a record')

/** What a saved PVH vCPU looks like. */
export const pvhVcpuShape = /* @__PURE__ */ shape.record({
  processor, flushedAt: shape.time, timestampBase: /* @__PURE__ */ shape.tuple(shape.word, shape.word), nmiPending: shape.flag, failedDeliveries: /* @__PURE__ */ shape.whole(0, 16),
  lastTrap: /* @__PURE__ */ shape.record(trapNoteFields),
})

/** A PVH vCPU as plain data. */
export type PvhVcpuState = StateOf<typeof pvhVcpuShape>
