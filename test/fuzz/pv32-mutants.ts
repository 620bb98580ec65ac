/** Faults that the fuzzer of 32-bit PV guests has to find, as in machine-mutants.ts. */
import { type Mutant, patch } from './machine-mutants.ts'

const PV32 = 'src/hypervisor/guests/pv32'
const PAGING = 'src/hypervisor/guests/direct-paging'
const CPU = 'src/machine/cpu'

/** All of them. */
export const PV32_MUTANTS: readonly Mutant[] = [
  {
    name: 'the processor goes on from the table of level 3 before',
    patches: [patch(`${PV32}/pv32-vcpu.ts`, 'this.memory.words[this.rootFrame << 10] = topEntry(table)', 'this.memory.words[this.rootFrame << 10] ||= topEntry(table)')],
    within: 10, found: /is not the table of level 4/,
  },
  {
    name: 'the last table of level 2 gets no slots of the hypervisor\'s',
    patches: [patch(`${PAGING}/page-tables.ts`, 'else if (type === FRAME_TYPE.XEN_L2) this.writeCompatSlots(mfn)', 'else void type')],
    within: 2, found: /the hypervisor's slot/,
  },
  {
    name: 'entries of level 3 behind the fourth stay as the guest has left them',
    patches: [patch(`${PAGING}/page-tables.ts`, 'this.words.fill(0, base + PAE_ENTRIES * 2, base + 1024)', 'void base')],
    within: 2, found: /behind the fourth|cannot have this context/,
  },
  {
    name: 'a guest\'s descriptors may be of ring 0',
    patches: [patch(`${PAGING}/descriptors.ts`, 'const level = Math.max((high & DPL) >>> DPL_SHIFT, rules.ring)', 'const level = (high & DPL) >>> DPL_SHIFT')],
    within: 20, found: /is for ring 0/,
  },
  {
    name: 'no flush before a writable frame becomes a table',
    patches: [patch('src/hypervisor/frames/frame-types.ts', 'if (before === FRAME_TYPE.WRITABLE) this.tlb.flushSince(frames.stamp[mfn]!)', '')],
    within: 20, found: /writes a frame of type|lacks USER|counts|uses a frame that is not in use/,
  },
  {
    name: 'a changed entry keeps what the old one held',
    patches: [patch(`${PAGING}/page-updates.ts`, '    this.write(at, newLow, newHigh)\n    tables.putLeaf(oldLow, oldHigh)', '    this.write(at, newLow, newHigh)')],
    within: 2, found: /counts \d+ references/,
  },
  {
    name: 'unmapping a grant drops no translations',
    patches: [patch(`${PAGING}/grant-entries.ts`, 'if (paged !== undefined) this.parts.tlb.flush(paged)', 'void paged')],
    within: 20, found: /leads to a frame of domain/,
  },
  {
    name: 'flushes of one page drop nothing',
    patches: [patch(`${PAGING}/mmu-update.ts`, 'else paged.processor.flushPage(page)', 'else void page')],
    within: 20, found: /has run other code/,
  },
  {
    name: 'a translation that may be read may be written',
    patches: [patch(`${CPU}/runtime/tlb.ts`, '    pushWritable(w)\n    c.get(leaf)', '    c.i32(1)\n    c.get(leaf)')],
    within: 10, found: /writes a frame of type|leads to a frame|the tables say/,
  },
  {
    name: 'changes of page tables are not logged',
    patches: [patch(`${PAGING}/page-updates.ts`, 'this.tables.host.memory.markWritten(at >>> 10)', 'void at')],
    within: 20, found: /log does not say|differs from the bytes it was made of/,
  },
]
