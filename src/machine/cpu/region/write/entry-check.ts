/**
 * The look at the mapping by which a region begins, in generated code. A block is found by the physical address of its
 * first byte, so that page needs no look; the others must be where they were when the region was made. The answer holds
 * for the processor that asked until its translations change: its context is kept in the front record, in place of a
 * displacement, and its base in place of an immediate.
 */
import type { Code } from '../../../../wasm/index.ts'
import type { Fronts } from '../../code/fronts.ts'
import { RECORD } from '../../layout/record.ts'
import { State } from '../../layout/state.ts'
import { MAPPED_PAGE } from '../../runtime/mapping.ts'
import type { RegionPage } from '../form/region.ts'

const [BASE, FRONT_RECORD] = [0, 1]

/** What a region's function checks with: a list of pages in memory, 0 where none needs a look, and the function that goes through it. */
export interface EntryCheck {
  readonly list: number
  readonly isMapped: number
}

/** Pushes an i32, not 0 when the region in the record of local 1 holds for the processor in local 0. */
export function pushValid(c: Code, { list, isMapped }: EntryCheck): void {
  if (list === 0) {
    c.i32(1)
    return
  }
  c.get(FRONT_RECORD)
  c.memory('i32.load', RECORD.displacement)
  c.get(BASE)
  c.memory('i32.load', State.context.offset)
  c.op('i32.eq')
  c.get(FRONT_RECORD)
  c.memory('i32.load', RECORD.immediate)
  c.get(BASE)
  c.op('i32.eq', 'i32.and')
  c.if('i32')
  c.i32(1)
  c.else()
  c.get(BASE)
  c.i32(list)
  c.call(isMapped)
  c.if('i32')
  c.get(FRONT_RECORD)
  c.get(BASE)
  c.memory('i32.load', State.context.offset)
  c.memory('i32.store', RECORD.displacement)
  c.get(FRONT_RECORD)
  c.get(BASE)
  c.memory('i32.store', RECORD.immediate)
  c.i32(1)
  c.else()
  c.i32(0)
  c.end()
  c.end()
}

/** Writes the list for a region whose entry is in the first page; 0 when it needs none, undefined when there is no room. */
export function writePageList(view: DataView, fronts: Fronts, pages: readonly RegionPage[]): number | undefined {
  const others = pages.slice(1)
  if (others.length === 0) return 0
  const list = fronts.take((others.length + 1) * MAPPED_PAGE.bytes)
  if (list === 0) return undefined
  others.forEach(({ linear, host }, index) => {
    const at = list + index * MAPPED_PAGE.bytes
    view.setBigInt64(at + MAPPED_PAGE.linear, BigInt(linear), true)
    view.setUint32(at + MAPPED_PAGE.host, host, true)
  })
  view.setUint32(list + others.length * MAPPED_PAGE.bytes + MAPPED_PAGE.host, 0, true)
  return list
}
