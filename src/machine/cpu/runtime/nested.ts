/**
 * From a guest-physical page to one of memory, in generated code: what the host has said of it before, then the host
 * (core/nested-memory.ts), for processors whose physical memory their host translates.
 *
 *   guest-physical page -> | page with bit 11 set | page in memory, bits of FRAME_RIGHT |   by frame number, 1,024 entries
 *
 * A page has 40 bits: those above the lowest 32 stand in its lowest 8, where an address within it would be (HIGH_PAGE).
 *
 * Reference: AMD64 APM volume 2, section 15.25.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import type { Code, ModuleWriter } from '../../../wasm/index.ts'
import { FRAME_RIGHT } from '../../interface/sources.ts'
import { HIGH_PAGE, NESTED_FAULT, NESTED_TLB, PHYSICAL_FAULT, State } from '../layout/state.ts'

/** What a walk wants of a page table. */
export const TABLE_USE = FRAME_RIGHT.READ | FRAME_RIGHT.WRITE | NESTED_FAULT.TABLE

/**
 * Adds the function (base, page, wanted) -> page in memory with the bits of FRAME_RIGHT that hold. 0 where not all that are wanted
 * do: PHYSICAL_FAULT is left in the state then. `ask`: number of the host's (base, page) -> the same, 0 for nothing.
 */
export function defineNested(module: ModuleWriter, ask: number): number {
  const { index, code: c } = module.function(['i32', 'i32', 'i32'], ['i32'])
  const [base, page, wanted, entry, found] = [0, 1, 2, c.local('i32'), c.local('i32')]
  c.get(page)
  c.i32(-PAGE_SIZE | HIGH_PAGE)
  c.op('i32.and')
  c.set(page)
  c.get(base)
  c.get(page)
  c.i32(PAGE_SHIFT)
  c.op('i32.shr_u')
  c.i32(NESTED_TLB.entries - 1)
  c.op('i32.and')
  c.i32(Math.log2(NESTED_TLB.entryBytes))
  c.op('i32.shl', 'i32.add')
  c.tee(entry)
  c.memory('i32.load', NESTED_TLB.offset)
  c.get(page)
  c.i32(NESTED_TLB.valid)
  c.op('i32.or', 'i32.eq')
  c.if('i32')
  c.get(entry)
  c.memory('i32.load', NESTED_TLB.offset + 4)
  c.else()
  c.get(base)
  c.get(page)
  c.call(ask)
  c.end()
  c.tee(found)
  c.get(wanted)
  c.i32(NESTED_FAULT.RIGHTS)
  c.op('i32.and')
  c.tee(entry)
  c.op('i32.and')
  c.get(entry)
  c.op('i32.eq')
  c.if()
  c.get(found)
  c.op('return')
  c.end()
  leave(c, { base, page, wanted, found })
  return index
}

/** Tells the driver what led nowhere, and gives 0. */
function leave(c: Code, of: { readonly base: number; readonly page: number; readonly wanted: number; readonly found: number }): void {
  c.get(of.base)
  c.i32(PHYSICAL_FAULT)
  c.memory('i32.store', State.faultVector.offset)
  c.get(of.base)
  c.get(of.page)
  c.memory('i32.store', State.physicalFault.offset)
  c.get(of.base)
  c.get(of.wanted)
  c.i32(NESTED_FAULT.PRESENT)
  c.i32(0)
  c.get(of.found)
  c.op('select', 'i32.or')
  c.memory('i32.store', State.faultCode.offset)
  c.i32(0)
}
