/** What a memory micro-operation does with its operand, by its name: how many bytes, and whether it writes. */
import { SEGMENT_USE } from '../layout/segment-access.ts'
import type { SegmentUse } from '../layout/segment-access.ts'

/** An access to memory as a segment's limit and type see it. */
export interface Access {
  readonly bytes: number
  readonly use: SegmentUse
  /** Has to lie at a multiple of 16, which counts before the segment's limit does. */
  readonly aligned?: boolean
}

/** Names end in the operand's form: `rm` loads, `mr`, `mi` and `m` store, or read and write. */
const LOADS = /\.rm$|^(vload|cmp|test)\./

/** The access of a micro-operation, its name without the address's form. */
export function accessOf(name: string): Access {
  const last = /(\d+)(a?)(b?)[^\d]*$/.exec(name)
  if (last === null) throw new Error(`the name ${name} tells no size`)
  const bytes = last[3] === 'b' ? Number(last[1]) : Number(last[1]) / 8
  return { bytes, use: LOADS.test(name) ? SEGMENT_USE.READ : SEGMENT_USE.WRITE, aligned: last[2] === 'a' }
}

/** Reading some bytes. */
export const reads = (bytes: number): Access => ({ bytes, use: SEGMENT_USE.READ })

/** Writing some bytes. */
export const writes = (bytes: number): Access => ({ bytes, use: SEGMENT_USE.WRITE })
