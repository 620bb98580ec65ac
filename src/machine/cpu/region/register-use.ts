/** Which general registers a region's records use, by the facts of their micro-operations. */
import { RECORD } from '../layout/record.ts'
import type { MicroTable } from '../uops/table.ts'
import type { RegisterUse } from './region-registers.ts'
import type { RegionBlock } from './region.ts'

/** Bits of the general registers in a set of slots. */
const GENERAL = 0xffff
const GENERAL_BYTES = 128

/** The registers that blocks read and write. */
export function registerUse(view: DataView, { all }: MicroTable, blocks: Iterable<RegionBlock>): RegisterUse {
  let [used, written] = [0, 0]
  for (const { instructions } of blocks) {
    for (const { first, end } of instructions) {
      for (let record = first; record < end; record += RECORD.bytes) {
        const { facts } = all[view.getUint16(record + RECORD.number, true)]!
        used |= facts.read & GENERAL
        written |= facts.written & GENERAL
        for (const { field, file, use } of facts.operands) {
          const slot = view.getUint8(record + RECORD[field])
          if (file !== 'general' || slot >= GENERAL_BYTES) continue
          if (use === 'read') used |= 1 << (slot >> 3)
          else written |= 1 << (slot >> 3)
        }
      }
    }
  }
  // What is written is stored at every exit, also at those before it.
  return { used: used | written, written }
}
