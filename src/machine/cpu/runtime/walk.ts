/**
 * From a linear address to a byte of memory: TLB, then page tables, in generated code. Shown is long mode; the rest is
 * in legacy-walk.ts.
 *
 *   63        48 47    39 38    30 29    21 20    12 11      0
 *  | sign copies |  L4   |   L3   |   L2   |   L1   | offset  |
 *
 * A walk collects the rights of all levels, sets accessed and dirty bits, and fills a TLB entry with those of the three
 * tags that need no further look. Faults leave vector, code and address in the state and give 0, and so does a walk whose
 * bits have changed decoded code.
 * Reference: Intel SDM volume 3, sections 4.5 to 4.10.
 */
import { PAGE_FAULT, PAGE_SHIFT, PAGE_SIZE, PTE, VECTOR } from '../../../x86/index.ts'
import type { Code, Label, ModuleWriter } from '../../../wasm/index.ts'
import type { AddressWidth } from '../emit/binder.ts'
import { ACCESS, HIGH_PAGE, PERMISSION, State, WALK_AGAIN } from '../layout/state.ts'
import { takePointer, walkTwoLevels } from './legacy-walk.ts'
import { fill, notePage, noteWrite, pushLines, pushWritable, writeProbe } from './tlb.ts'
import {
  collect, load, pageToHost, pushPage, raise, raiseProtection, spare, tableToHost, takePresent, testPermission, translateNested,
} from './walk-steps.ts'
import type { Walk } from './walk-steps.ts'

/** Bits of CR3 that say where in its page PAE's table of pointers lies. */
const POINTERS_PLACE = 0xfe0

/** Functions of the shape (base, address, access) -> host address, 0 on a fault. */
export interface WalkFunctions {
  readonly walk: number
  /** Tries the TLB first. */
  readonly probe: number
  /** The same without a trace: 0 also where an access would leave one in the tables. */
  readonly peek: number
}

/** Numbers of what walks call: the function of nested.ts, and `codeWritten` (frame) -> (). */
export interface WalkImports {
  readonly nested: number
  readonly codeWritten: number
}

/** Adds the functions. 64-bit code knows long mode's tables only. */
export function defineWalk(module: ModuleWriter, width: AddressWidth, { nested, codeWritten }: WalkImports): WalkFunctions {
  const marked = defineMarked(module, codeWritten)
  const walkAnd = (traces: Walk['traces']): { walk: number; probe: number } => {
    // A function each: what one needs for the host's answers would cost the other.
    const [walk, nestedWalk] = [undefined, nested].map((host) => {
      const { index, code } = module.function(['i32', 'i64', 'i32'], ['i32'])
      writeWalk(code, width, { traces, nested: host, marked })
      return index
    }) as [number, number]
    const probe = module.function(['i32', 'i64', 'i32'], ['i32'])
    writeProbe(probe.code, walk, nestedWalk)
    return { walk, probe: probe.index }
  }
  return { ...walkAnd('left'), peek: walkAnd('none').probe }
}

function writeWalk(c: Code, width: AddressWidth, how: Pick<Walk, 'traces' | 'nested' | 'marked'>): void {
  const local = (): number => c.local('i32')
  const shared = {
    code: c, base: 0, address: 1, access: 2, permissions: local(), table: local(),
    entries: [local(), local(), local(), local()], entry: c.local('i64'), rights: local(), noExecute: local(),
    frameRights: local(), faultCode: local(), changed: local(), ...how,
  }
  const fault = c.block()
  const w: Walk = { ...shared, fault }
  load(w, State.permissions.offset)
  c.set(w.permissions)
  c.i32(-1)
  c.set(w.rights)
  const done = c.block()
  testPermission(w, PERMISSION.PAGING)
  c.op('i32.eqz')
  c.if()
  unpaged(w)
  c.br(done)
  c.end()
  canonical(w)
  load(w, State.root.offset)
  if (how.nested !== undefined) {
    c.i32(-PAGE_SIZE)
    c.op('i32.and')
  }
  c.set(w.table)
  if (width === 32) {
    testPermission(w, PERMISSION.PAE)
    c.op('i32.eqz')
    c.if()
    walkTwoLevels(w, done)
    c.end()
  }
  for (const level of [4, 3, 2, 1]) {
    if (level === 4) {
      testPermission(w, PERMISSION.LONG)
      c.if()
      walkLevel(w, level, done)
      c.end()
    } else walkLevel(w, level, done)
  }
  c.end()
  checkRights(w)
  translatePage(w)
  if (how.traces === 'left') leaveTraces(w)
  else requireAccessed(w)
  c.get(w.table)
  c.get(w.address)
  c.op('i32.wrap_i64')
  c.i32(PAGE_SIZE - 1)
  c.op('i32.and', 'i32.or', 'return')
  c.end()
  pageFault(w)
}

/** Without paging a linear address is a physical one with all rights. */
function unpaged(w: Walk): void {
  const c = w.code
  c.get(w.address)
  c.i64(0xffff_f000, 0)
  c.op('i64.and', 'i32.wrap_i64')
  c.set(w.table)
  pageToHost(w)
  // All entries point at a spare word, so that accessed and dirty bits go nowhere; the page counts as dirty.
  for (const entry of w.entries) spare(w, entry)
}

function canonical(w: Walk): void {
  const c = w.code
  c.get(w.address)
  c.i64(16)
  c.op('i64.shl')
  c.i64(16)
  c.op('i64.shr_s')
  c.get(w.address)
  c.op('i64.ne')
  c.if()
  raiseProtection(c, w.base, w.address)
  c.i32(0)
  c.op('return')
  c.end()
}

/** Reads the entry of one level; leaves the next table or the page in `table`, and goes to `done` for a large page. */
function walkLevel(w: Walk, level: number, done: Label): void {
  const c = w.code
  const place = w.entries[4 - level]!
  tableToHost(w, w.table)
  c.get(w.table)
  c.get(w.address)
  c.i64(PAGE_SHIFT + 9 * (level - 1) - 3)
  c.op('i64.shr_u', 'i32.wrap_i64')
  // Level 3 of a 32-bit address has four entries, which its upper bits, being zero, select by themselves.
  c.i32(0xff8)
  c.op('i32.and', 'i32.add')
  if (w.nested !== undefined && level === 3) pointersOffset(w)
  c.tee(place)
  c.memory('i64.load')
  takePresent(w)
  reserved(w)
  if (level === 3) {
    testPermission(w, PERMISSION.LONG)
    c.if()
    collect(w)
    c.else()
    takePointer(w, place)
    c.end()
  } else collect(w)
  if (level === 4) refuseBits(w, PTE.LARGE)
  if (level === 3 || level === 2) large(w, level, done)
  pushPage(w)
  c.set(w.table)
  if (level === 1) pageToHost(w)
}

/** Where a host translates, the place of PAE's pointers within their page is lost on the way. */
function pointersOffset(w: Walk): void {
  load(w, State.root.offset)
  w.code.i32(POINTERS_PLACE)
  w.code.op('i32.and', 'i32.add')
}

/** Bits of the entry's low half that have to be 0. */
function refuseBits(w: Walk, bits: number): void {
  const c = w.code
  c.get(w.entry)
  c.op('i32.wrap_i64')
  c.i32(bits)
  c.op('i32.and')
  c.if()
  raise(w, PAGE_FAULT.PRESENT | PAGE_FAULT.RESERVED)
  c.end()
}

/** Frame bits beyond our memory, or beyond what a host translates, and NX where it is not enabled. */
function reserved(w: Walk): void {
  const c = w.code
  c.get(w.entry)
  c.i64(0, w.nested === undefined ? 0x000f_ffff : 0x000f_ffff & ~HIGH_PAGE)
  testPermission(w, PERMISSION.NX)
  c.op('i32.eqz', 'i64.extend_i32_u')
  c.i64(63)
  c.op('i64.shl', 'i64.or', 'i64.and', 'i64.eqz', 'i32.eqz')
  c.if()
  raise(w, PAGE_FAULT.PRESENT | PAGE_FAULT.RESERVED)
  c.end()
}

/** A large page: works out the host address of its 4 KiB part; lower levels' entries count as this one. */
function large(w: Walk, level: 2 | 3, done: Label): void {
  const c = w.code
  const mask = level === 3 ? 0x3fff_f000 : 0x1f_f000
  c.get(w.entry)
  c.op('i32.wrap_i64')
  c.i32(PTE.LARGE)
  c.op('i32.and')
  c.i32(0)
  c.op('i32.ne')
  if (level === 3) {
    testPermission(w, PERMISSION.LONG)
    c.i32(0)
    c.op('i32.ne', 'i32.and')
  }
  c.if()
  // Bit 12 is the page's PAT bit; the other address bits below the page's size are reserved.
  refuseBits(w, mask & ~0x1fff)
  pushPage(w, ~mask & -PAGE_SIZE)
  c.get(w.address)
  c.op('i32.wrap_i64')
  c.i32(mask)
  c.op('i32.and', 'i32.or')
  c.set(w.table)
  pageToHost(w)
  for (let lower = level - 1; lower >= 1; lower -= 1) {
    c.get(w.entries[4 - level]!)
    c.set(w.entries[4 - lower]!)
  }
  if (w.traces === 'left') {
    c.get(w.base)
    c.i32(1)
    c.memory('i32.store', State.largePages.offset)
  }
  c.br(done)
  c.end()
}

/** Where a host translates, the page goes through it, once the guest's own tables allow the access. */
function translatePage(w: Walk): void {
  if (w.nested === undefined) return
  const c = w.code
  translateNested(w, w.table, () => {
    // Bits of FRAME_RIGHT stand in the order of the tags by which accesses are named.
    c.i32(1)
    c.get(w.access)
    c.i32(3)
    c.op('i32.shr_u', 'i32.shl')
  })
  c.get(w.table)
  c.set(w.frameRights)
  c.get(w.table)
  c.i32(-PAGE_SIZE)
  c.op('i32.and')
  c.set(w.table)
}

/** Bits that are set in page tables are writes: they are noted, and decoded code goes. */
function noteTable(w: Walk, entry: number): void {
  const c = w.code
  notePage(w, entry)
  c.get(w.base)
  c.get(entry)
  c.call(w.marked)
  c.get(w.changed)
  c.op('i32.or')
  c.set(w.changed)
}

/** Adds the function (base, host address of an entry) -> 1 when code was decoded from its line, which is gone now. */
function defineMarked(module: ModuleWriter, codeWritten: number): number {
  const { index, code: c } = module.function(['i32', 'i32'], ['i32'])
  const [base, host] = [0, 1]
  pushLines(c, base, host)
  c.get(host)
  c.i32(PAGE_SIZE - 1)
  c.op('i32.and')
  c.i32(6)
  c.op('i32.shr_u', 'i64.extend_i32_u', 'i64.shr_u', 'i32.wrap_i64')
  c.i32(1)
  c.op('i32.and')
  c.if('i32')
  c.get(host)
  c.i32(PAGE_SHIFT)
  c.op('i32.shr_u')
  c.call(codeWritten)
  c.i32(1)
  c.else()
  c.i32(0)
  c.end()
  return index
}

/** Gives 0 where decoded code has gone: whoever asked looks again, and what is executed begins anew. */
function againIfChanged(w: Walk): void {
  const c = w.code
  c.get(w.changed)
  c.if()
  c.get(w.base)
  c.i32(WALK_AGAIN)
  c.memory('i32.store', State.faultVector.offset)
  c.i32(0)
  c.op('return')
  c.end()
}

/** Sets accessed and dirty bits, fills the TLB. */
function leaveTraces(w: Walk): void {
  const c = w.code
  for (const entry of w.entries) setBit(w, entry, PTE.ACCESSED)
  const leaf = w.entries[3]!
  c.get(w.access)
  c.i32(ACCESS.WRITE)
  c.op('i32.eq')
  c.if()
  setBit(w, leaf, PTE.DIRTY)
  noteWrite(w)
  c.end()
  againIfChanged(w)
  fill(w, leaf)
}

/** Returns 0 unless all levels have been accessed. */
function requireAccessed(w: Walk): void {
  const c = w.code
  for (const entry of w.entries) {
    pushLacks(w, entry, PTE.ACCESSED)
    c.if()
    c.i32(0)
    c.op('return')
    c.end()
  }
}

function pushLacks(w: Walk, entry: number, bit: number): void {
  const c = w.code
  c.get(entry)
  c.memory('i32.load')
  c.i32(bit)
  c.op('i32.and', 'i32.eqz')
}

function setBit(w: Walk, entry: number, bit: number): void {
  const c = w.code
  pushLacks(w, entry, bit)
  c.if()
  c.get(entry)
  c.get(entry)
  c.memory('i32.load')
  c.i32(bit)
  c.op('i32.or')
  c.memory('i32.store')
  noteTable(w, entry)
  c.end()
}

function checkRights(w: Walk): void {
  const c = w.code
  const forbid = (): void => {
    c.if()
    raise(w, PAGE_FAULT.PRESENT)
    c.end()
  }
  testPermission(w, PERMISSION.USER)
  c.get(w.rights)
  c.i32(PTE.USER)
  c.op('i32.and', 'i32.eqz', 'i32.and')
  forbid()
  c.get(w.access)
  c.i32(ACCESS.WRITE)
  c.op('i32.eq')
  pushWritable(w)
  c.op('i32.eqz', 'i32.and')
  forbid()
  c.get(w.access)
  c.i32(ACCESS.EXECUTE)
  c.op('i32.eq')
  c.get(w.noExecute)
  c.op('i32.and')
  forbid()
  // Ring 0 on pages of ring 3: SMEP forbids execution, SMAP data unless AC is set (the driver drops the bit then).
  for (const [permission, execute] of [[PERMISSION.SMEP, true], [PERMISSION.SMAP, false]] as const) {
    testPermission(w, permission)
    c.i32(0)
    c.op('i32.ne')
    c.get(w.rights)
    c.i32(PTE.USER)
    c.op('i32.and')
    c.i32(0)
    c.op('i32.ne', 'i32.and')
    c.get(w.access)
    c.i32(ACCESS.EXECUTE)
    c.op(execute ? 'i32.eq' : 'i32.ne', 'i32.and')
    forbid()
  }
}

/** Leaves a page fault in the state and returns 0. */
function pageFault(w: Walk): void {
  const c = w.code
  c.get(w.base)
  c.i32(VECTOR.PF)
  c.memory('i32.store', State.faultVector.offset)
  c.get(w.base)
  c.get(w.address)
  c.memory('i64.store', State.faultAddress.offset)
  c.get(w.base)
  c.get(w.faultCode)
  // WRITE is 2, USER 4, FETCH 16; FETCH is only told where execution can be forbidden.
  const choose = (condition: () => void, bit: number): void => {
    c.i32(bit)
    c.i32(0)
    condition()
    c.op('select', 'i32.or')
  }
  choose(() => {
    c.get(w.access)
    c.i32(ACCESS.WRITE)
    c.op('i32.eq')
  }, PAGE_FAULT.WRITE)
  choose(() => testPermission(w, PERMISSION.USER), PAGE_FAULT.USER)
  choose(() => {
    c.get(w.access)
    c.i32(ACCESS.EXECUTE)
    c.op('i32.eq')
    testPermission(w, PERMISSION.NX | PERMISSION.SMEP)
    c.i32(0)
    c.op('i32.ne', 'i32.and')
  }, PAGE_FAULT.FETCH)
  c.memory('i32.store', State.faultCode.offset)
  c.i32(0)
}
