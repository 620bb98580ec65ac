/** Which general registers a region's records use, by the facts of their micro-operations. */
import { RECORD } from '../layout/record.ts'
import type { MicroFacts } from '../uops/facts.ts'
import type { MicroTable } from '../uops/table.ts'
import { RecordReader } from './record-reader.ts'
import type { RegisterUse } from './region-registers.ts'
import type { RegionBlock } from './region.ts'

/** Bits of the general registers in a set of slots. */
const GENERAL = 0xffff
const GENERAL_BYTES = 128

/** The registers that blocks read and write. */
export function registerUse(view: DataView, { all }: MicroTable, blocks: Iterable<RegionBlock>): RegisterUse {
  let [used, written] = [0, 0]
  const reader = new RecordReader(view)
  for (const { instructions } of blocks) {
    for (const instruction of instructions) {
      for (let at = instruction.first; at < instruction.end; at += RECORD.bytes) {
        reader.record = { instruction, at }
        const use = recordUse(reader, all[reader.number]!.facts)
        used |= use.used
        written |= use.written
      }
    }
  }
  return { used, written }
}

/** The registers that the record at hand reads and writes. */
export function recordUse(reader: RecordReader, facts: MicroFacts): RegisterUse {
  let used = facts.read & GENERAL
  let written = facts.written & GENERAL
  for (const { field, file, use } of facts.operands) {
    const slot = reader.small(field)
    if (file !== 'general' || slot >= GENERAL_BYTES) continue
    if (use === 'read') used |= 1 << (slot >> 3)
    else written |= 1 << (slot >> 3)
  }
  // What is written is stored at every exit, also at those before it.
  return { used: used | written, written }
}
