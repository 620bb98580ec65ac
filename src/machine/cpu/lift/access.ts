/** An access to memory as a segment's limit and type see it. */
import { SEGMENT_USE } from '../layout/segment-access.ts'
import type { SegmentUse } from '../layout/segment-access.ts'
import { isWrite } from '../uops/facts.ts'
import type { MemoryAccess } from '../uops/facts.ts'

/** An access to memory. */
export interface Access {
  readonly bytes: number
  readonly use: SegmentUse
  /** Has to lie at a multiple of 16, which counts before the segment's limit does. */
  readonly aligned?: boolean
}

/** Reading some bytes. */
export const reads = (bytes: number): Access => ({ bytes, use: SEGMENT_USE.READ })

/** Writing some bytes. */
export const writes = (bytes: number): Access => ({ bytes, use: SEGMENT_USE.WRITE })

/** What a micro-operation does with its operand in memory. */
export const accessOf = (access: MemoryAccess): Access =>
  ({ ...(isWrite(access) ? writes(access.bytes) : reads(access.bytes)), aligned: access.align > 1 })
