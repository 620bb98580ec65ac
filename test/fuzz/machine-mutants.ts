/**
 * Faults that the fuzzer of hostile machine code has to find: each is a piece of the source as it should not be, the
 * first two as it once was. `within`: cases in which it is found at the latest.
 */
import type { Patch } from '../support/mutants.ts'

/** One planted fault. */
export interface Mutant {
  readonly name: string
  readonly patches: readonly Patch[]
  readonly within: number
  /** What the finding says. */
  readonly found: RegExp
}

const PV = 'src/hypervisor/guests/pv'
const PAGING = 'src/hypervisor/guests/direct-paging'
const CPU = 'src/machine/cpu'
/** What comes into force again with a top-level table is not what that gives. */
const KEPT = /is kept, and its tables give another|keeps translations of a top-level table/

/** One replacement. */
export const patch = (file: string, find: string, replace: string): Patch => ({ file, find, replace })

/** All of them. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'a page table is writable while an instruction stores into it, and is rolled back behind it',
    patches: [patch(`${PAGING}/writable-tables.ts`, 'if (!processor.storeAside(place, entry)) return \'refused\'', `
      const at0 = at & ~1023
      const leaf0 = findLeaf(this.parts.memory, paged.kernelTable, place)
      const mapping = words[leaf0]!
      const before = words.slice(at0, at0 + 1024)
      words[leaf0] = mapping | PTE.WRITABLE
      processor.flushPage(place)
      const reason = processor.run(1)
      if (((words[leaf0]! ^ mapping) & ~(PTE.WRITABLE | 0x60)) === 0) words[leaf0] = mapping
      processor.flushPage(place)
      const after = words.slice(at0, at0 + 1024)
      words.set(before, at0)
      for (let i = 0; i < 1024; i += 2) {
        if (before[i] === after[i] && before[i + 1] === after[i + 1]) continue
        const all = { table: vcpu.domid, frame: vcpu.domid, preserve: false }
        if (this.updates.changeLeaf(at0 + i, after[i]!, after[i + 1]!, all) < 0) return 'refused'
      }
      if (reason >= 0) return 'done'`)],
    within: 40, found: /remembers of/,
  },
  {
    name: 'a new processor keeps the jumps of the one whose place it takes',
    patches: [patch(`${CPU}/processor/reset.ts`, 'memory.bytes.fill(0, base, base + USED_BYTES)', 'memory.bytes.fill(0, base, base + State.size)')],
    within: 3, found: /the jump to/,
  },
  {
    name: 'a branch is linked to the block of another frame',
    patches: [patch(`${CPU}/runtime/blocks.ts`, '  pushFrame(c, record)\n  c.op(\'i32.eq\')\n', '  pushFrame(c, record)\n  c.op(\'i32.or\')\n')],
    within: 5, found: /goes on in/,
  },
  {
    name: 'no flush before a writable frame becomes a table',
    patches: [patch('src/hypervisor/frames/frame-types.ts', 'if (before === FRAME_TYPE.WRITABLE) this.tlb.flushSince(frames.stamp[mfn]!)', '')],
    within: 10, found: /writes a frame of type [1-4]|lacks USER|counts/,
  },
  {
    name: 'no flush before a freed frame is handed out',
    patches: [patch('src/hypervisor/frames/domain-memory.ts', 'tlb.flushSince(latest(frames.stamp, first, end))', 'void [frames, tlb, latest]')],
    within: 40, found: /leads to a frame of domain|writes a frame of type/,
  },
  {
    name: 'the clock of flushes wraps',
    patches: [patch('src/hypervisor/frames/tlb-clock.ts', 'return this.time\n', 'return this.time & 63\n')],
    within: 10, found: /no flush|not reached by flushes/,
  },
  {
    name: 'the stamp of a frame whose writable use ends is forgotten',
    patches: [patch('src/hypervisor/frames/frame-types.ts', '      frames.rows.setStamp(mfn, this.tlb.now())\n', '')],
    within: 10, found: /waits for no flush|writes a frame of type|lacks USER|counts/,
  },
  {
    name: 'code that a grant copy writes over is kept',
    patches: [patch('src/hypervisor/grants/copying.ts', 'memory.markWritten(', 'void (')],
    within: 20, found: /differs from the bytes|other code/,
  },
  {
    name: 'code in a frame that is handed out anew is kept',
    patches: [patch('src/machine/memory/physical-memory.ts', '      if (this.hasCode(mfn)) this.onCodeWrite(mfn)\n    }\n    bytes.fill(', '    }\n    bytes.fill(')],
    within: 10, found: /differs from the bytes|cannot be decoded/,
  },
  {
    name: 'user mode runs on the kernel\'s page tables',
    patches: [patch(`${PV}/pv-vcpu.ts`, 'this.inKernel = !this.inKernel\n    this.loadRoot()', 'this.inKernel = !this.inKernel')],
    within: 5, found: /another top-level table/,
  },
  {
    name: 'a change of page tables drops no translations',
    patches: [patch(`${CPU}/core/mode.ts`, 'else if (index === 3) translations.enterTable(low)', '')],
    within: 10, found: /the tables say/,
  },
  {
    name: 'walks are made with the rights of ring 0',
    patches: [patch(`${CPU}/core/mode.ts`, 'choose(user, PERMISSION.USER)', 'choose(user && this.parts.bare, PERMISSION.USER)')],
    within: 2, found: /more than a guest's rights/,
  },
  {
    name: 'tables are entered without the bit that user mode needs',
    patches: [patch(`${PAGING}/page-entries.ts`, ': 0) : PTE.USER', ': 0) : 0')],
    within: 2, found: /lacks USER/,
  },
  {
    name: 'a translation that may not run may run',
    patches: [patch(`${CPU}/runtime/tlb.ts`, '    c.get(w.noExecute)\n    c.op(\'i32.eqz\')\n    unlessSplit(ACCESS.EXECUTE)', '    c.i32(1)\n    unlessSplit(ACCESS.EXECUTE)')],
    within: 10, found: /executable; the tables say|is kept, and its tables give another/,
  },
  {
    name: 'a translation that may be read may be written',
    patches: [patch(`${CPU}/runtime/tlb.ts`, '    pushWritable(w)\n    c.get(leaf)', '    c.i32(1)\n    c.get(leaf)')],
    within: 5, found: /writes a frame of type|leads to a frame|the tables say|is kept, and its tables give another/,
  },
  {
    name: 'decoding leaves the right to write its frame with other processors',
    patches: [patch(`${CPU}/code/code-cache.ts`, 'for (const user of this.users) user.protectFrame(mfn)', '')],
    within: 10, found: /written unseen|differs from the bytes|other code/,
  },
  {
    name: 'dropping one page\'s translation keeps its jumps',
    patches: [patch(`${CPU}/core/translations.ts`, 'else this.current.dropPage(Math.floor(address / PAGE_SIZE))\n    this.renewJumps()', 'else this.current.dropPage(Math.floor(address / PAGE_SIZE))')],
    within: 10, found: /other code|leads to a frame|goes on in/,
  },
  {
    name: 'a remembered jump is taken again wherever its page leads by now',
    patches: [patch(`${CPU}/runtime/blocks.ts`, '  pushIsOf(c, search)\n  c.if()\n  renew', '  c.i32(1)\n  c.if()\n  renew')],
    within: 10, found: /other code|leads to a frame|goes on in|dropped/,
  },
  {
    name: 'a full flush passes the last translation by',
    patches: [patch(`${CPU}/core/translation-bank.ts`, 'if (count < TLB_LOG.entries) this.dropBetween(0, count)', 'if (count < TLB_LOG.entries) this.dropBetween(1, count)')],
    within: 5, found: /found by no flush/,
  },
  {
    name: 'nobody tells that an entry is written over',
    patches: [patch(`${PAGING}/page-updates.ts`, '    this.tables.changes.entry(at)\n', '')],
    within: 5, found: KEPT,
  },
  {
    name: 'nobody tells that a grant is unmapped',
    patches: [patch(`${PAGING}/grant-entries.ts`, '    pageTables.changes.entry(at)\n', '')],
    within: 20, found: KEPT,
  },
  {
    name: 'nobody tells that a top-level table is none any more',
    patches: [patch(`${PAGING}/page-tables.ts`, '    if (this.frames.type[mfn] === FRAME_TYPE.L4) this.changes.root(mfn)\n', '')],
    within: 25, found: KEPT,
  },
  {
    name: 'tables are left with what has changed in them',
    patches: [patch(`${CPU}/core/translations.ts`, '    noted.take((index) => current.dropIndex(index))\n', '')],
    within: 5, found: KEPT,
  },
  {
    name: 'a change is not told to what is kept of other tables',
    patches: [patch(`${CPU}/core/translations.ts`, '      bank.dropIndex(index)\n', '')],
    within: 10, found: KEPT,
  },
  {
    name: 'a change is told to every other translation that it concerns',
    patches: [patch(`${CPU}/core/translation-bank.ts`, 'for (let page = index; page < TLB.entries; page += ENTRIES_PER_TABLE)', 'for (let page = index; page <= index; page += ENTRIES_PER_TABLE)')],
    within: 20, found: KEPT,
  },
  {
    name: 'a full flush leaves what is kept of other tables',
    patches: [patch(`${CPU}/core/translations.ts`, '    for (const bank of this.banks) if (bank !== this.current && bank.root !== NO_ROOT) bank.forget()\n', '')],
    within: 20, found: /written unseen/,
  },
  {
    name: 'decoding leaves the right to write its frame with what is kept of other tables',
    patches: [patch(`${CPU}/core/translations.ts`, '      else if (bank.root !== NO_ROOT) bank.protect(mfn)\n', '')],
    within: 10, found: /written unseen|differs from the bytes|other code/,
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
    name: 'the log of writes begins while processors remember the right to write',
    patches: [patch('src/hypervisor/control/core/log-dirty.ts', 'tracking.watchWrites(mfn)\n    this.forgetTranslations()', 'tracking.watchWrites(mfn)')],
    within: 20, found: /written unseen|log does not say/,
  },
  {
    name: 'changes of page tables are not logged',
    patches: [patch(`${PAGING}/page-updates.ts`, 'this.tables.host.memory.markWritten(at >>> 10)', 'void at')],
    within: 20, found: /log does not say/,
  },
]
