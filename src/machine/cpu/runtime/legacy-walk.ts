/**
 * Page walks outside of long mode, in generated code: the two levels of 32-bit paging, and what is particular to the
 * third level of PAE paging.
 *
 *   31      22 21      12 11      0          31  30 29      21 20      12 11      0
 *  |    L2    |    L1    | offset  |   PAE: | L3   |    L2    |    L1    | offset  |
 *
 * Reference: Intel SDM volume 3, sections 4.3 and 4.4.
 */
import { PAGE_FAULT, PAGE_SHIFT, PAGE_SIZE, PTE } from '../../../x86/index.ts'
import type { Label } from '../../../wasm/index.ts'
import { PERMISSION, State } from '../layout/state.ts'
import { collect, pageToHost, raise, spare, tableToHost, takePresent, testPermission } from './walk-steps.ts'
import type { Walk } from './walk-steps.ts'

/** Address bits 39 to 32 of a page of 4 MiB, which no memory here has, and bit 21, which has to be 0. */
const LARGE_RESERVED = 0x3f_e000
/** Bits of a PAE pointer entry, low and high half, that have to be 0. */
const POINTER_RESERVED = [0x1e6, 0x8000_0000] as const

/** Raises a reserved-bit fault when the i32 on the stack is not 0. */
function refuse(w: Walk): void {
  w.code.if()
  raise(w, PAGE_FAULT.PRESENT | PAGE_FAULT.RESERVED)
  w.code.end()
}

/** Reads the four-byte entry that `shift` selects in the table at hand. */
function readEntry(w: Walk, place: number, shift: number): void {
  const c = w.code
  tableToHost(w, w.table)
  c.get(w.table)
  c.get(w.address)
  c.op('i32.wrap_i64')
  c.i32(shift - 2)
  c.op('i32.shr_u')
  c.i32(0xffc)
  c.op('i32.and', 'i32.add')
  c.tee(place)
  c.memory('i64.load32_u')
  takePresent(w)
  collect(w)
}

/** Both levels; leaves the page in `table` and goes to `done`. */
export function walkTwoLevels(w: Walk, done: Label): void {
  const c = w.code
  const pushEntry = (mask: number): void => {
    c.get(w.entry)
    c.op('i32.wrap_i64')
    c.i32(mask)
    c.op('i32.and')
  }
  spare(w, w.entries[0]!)
  spare(w, w.entries[1]!)
  readEntry(w, w.entries[2]!, 22)
  pushEntry(PTE.LARGE)
  c.op('i32.eqz')
  testPermission(w, PERMISSION.PSE)
  c.op('i32.eqz', 'i32.or', 'i32.eqz')
  c.if()
  pushEntry(LARGE_RESERVED)
  refuse(w)
  pushEntry(0xffc0_0000)
  c.get(w.address)
  c.op('i32.wrap_i64')
  c.i32(0x3f_f000)
  c.op('i32.and', 'i32.or')
  c.set(w.table)
  pageToHost(w)
  c.get(w.entries[2]!)
  c.set(w.entries[3]!)
  c.get(w.base)
  c.i32(1)
  c.memory('i32.store', State.largePages.offset)
  c.br(done)
  c.end()
  pushEntry(-PAGE_SIZE)
  c.set(w.table)
  readEntry(w, w.entries[3]!, PAGE_SHIFT)
  pushEntry(-PAGE_SIZE)
  c.set(w.table)
  pageToHost(w)
  c.br(done)
}

/**
 * A PAE pointer: a table without rights or accessed bit. Reserved bits fault here, as on AMD's processors, and not when
 * CR3 is written.
 */
export function takePointer(w: Walk, place: number): void {
  const c = w.code
  c.get(w.entry)
  c.i64(POINTER_RESERVED[0], POINTER_RESERVED[1])
  c.op('i64.and', 'i64.eqz', 'i32.eqz')
  refuse(w)
  spare(w, place)
  spare(w, w.entries[0]!)
}
