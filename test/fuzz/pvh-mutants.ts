/** Faults that the fuzzer of PVH guests has to find, as in machine-mutants.ts. */
import { type Mutant, patch } from './machine-mutants.ts'

const PVH = 'src/hypervisor/guests/pvh'
const CPU = 'src/machine/cpu'

/** All of them. */
export const PVH_MUTANTS: readonly Mutant[] = [
  {
    name: 'what leaves the physical map is not forgotten',
    patches: [patch('src/hypervisor/frames/physical-map.ts', 'if (before >= PAGE_SIZE) this.parts.changed(gfn)', 'void before')],
    within: 10, found: /has no such place|leads to a free frame|is in store|memory that another domain|written unseen/,
  },
  {
    name: 'the translations behind a frame number are kept when it leads elsewhere',
    patches: [patch(`${CPU}/processor/processor.ts`, 'this.core.nested?.drop(gfn)\n    this.isStale = true', 'this.core.nested?.drop(gfn)')],
    within: 10, found: /has no such place|leads to a free frame/,
  },
  {
    name: 'what the host has said of a frame number is kept when it leads elsewhere',
    patches: [patch(`${CPU}/processor/processor.ts`, 'this.core.nested?.drop(gfn)\n    this.isStale = true', 'this.isStale = true')],
    within: 10, found: /has no such place|leads to a free frame/,
  },
  {
    name: 'code that the hypercall page is written over is kept',
    patches: [patch('src/hypervisor/control/core/hypercall-page.ts', 'memory.markWritten(frame)', 'void frame')],
    within: 10, found: /differs from the bytes|cannot be decoded/,
  },
  {
    name: 'what is granted for reading may be written',
    patches: [patch('src/hypervisor/frames/physical-map.ts', 'RIGHTS: readonly number[] = [0, 7, 3, 1, 3, 0]', 'RIGHTS: readonly number[] = [0, 7, 3, 3, 3, 0]')],
    within: 20, found: /has no such place/,
  },
  {
    name: 'a change of the top table drops no translations',
    patches: [patch(`${CPU}/core/mode.ts`, 'else if (index === 3) translations.enterTable(low)', '')],
    within: 20, found: /has run other code/,
  },
  {
    name: 'INVLPG forgets nothing',
    patches: [patch(`${CPU}/system/control.ts`, 'if (isCanonical(address)) translations.flushPage(address)', 'void translations')],
    within: 10, found: /has run other code/,
  },
  {
    name: 'the place of PAE\'s pointers within their page is lost',
    patches: [patch(`${CPU}/runtime/walk.ts`, 'if (w.nested !== undefined && level === 3) pointersOffset(w)', '')],
    within: 10, found: /the tables say/,
  },
  {
    name: 'bits that a walk sets in tables are not logged',
    patches: [patch(`${CPU}/runtime/walk.ts`, 'notePage(w, entry)', 'void notePage')],
    within: 20, found: /log does not say/,
  },
  {
    name: 'code in a page table stays as it was when a walk marks the table',
    patches: [patch(`${CPU}/runtime/walk.ts`, 'c.call(w.marked)', 'c.op("i32.ne")\n  c.i32(0)\n  c.op("i32.and")')],
    within: 5, found: /differs from the bytes/,
  },
  {
    name: 'a mapping of a grant may take another one\'s place down',
    patches: [patch(`${PVH}/pvh-guests.ts`, 'physmap.kind(gfn) === kindOf(flags)', 'physmap.kind(gfn) === PLACE.GRANTED || physmap.kind(gfn) === PLACE.GRANTED_READONLY')],
    within: 10, found: /without a grant for it/,
  },
  {
    name: 'a frame that is taken back keeps its place',
    patches: [patch('src/hypervisor/control/core/reservation.ts', 'if (place >= 0) physmap?.remove(place)', 'void place')],
    within: 10, found: /is not its own|elsewhere/,
  },
  {
    name: 'a frame on demand is counted and not placed',
    patches: [patch(`${PVH}/on-demand.ts`, 'this.physmap.place(gfn, mfn)\n    return true', 'this.physmap.place(gfn, mfn)\n    this.physmap.onDemand += 1\n    return true')],
    within: 10, found: /places on demand/,
  },
  {
    name: 'the shadow of GS is lost on the way back',
    patches: [patch(`${PVH}/hvm-registers.ts`, 'kernelGsBase: [at.shadowGs.low(view, base), at.shadowGs.high(view, base)]', 'kernelGsBase: [0, at.shadowGs.high(view, base)]')],
    within: 60, found: /its context is another one/,
  },
  {
    name: 'a local APIC that is taken back has its vectors enabled',
    patches: [patch(`${PVH}/hvm-records.ts`, '(HvmHwLapic.disabled.get(view, 0) & SOFTWARE_DISABLED) !== 0)', 'false)')],
    within: 5, found: /its context is another one/,
  },
]
