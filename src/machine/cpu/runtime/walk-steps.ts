/**
 * Steps that walks of all formats share, in generated code: how an entry is taken, what its rights add up to, and how a
 * walk ends with a fault.
 */
import { PAGE_FAULT, PAGE_SIZE, PTE, VECTOR } from '../../../x86/index.ts'
import type { Code, Label } from '../../../wasm/index.ts'
import { TABLE_USE } from './nested.ts'
import { HIGH_PAGE, NOT_CANONICAL, State } from '../layout/state.ts'

/** Locals and labels of the walk. */
export interface Walk {
  readonly code: Code
  readonly base: number
  readonly address: number
  readonly access: number
  readonly permissions: number
  /** Host address of the table, then of the page. */
  readonly table: number
  /** Host addresses of the entries, level 4 first. */
  readonly entries: readonly number[]
  readonly entry: number
  /** AND of all levels' low halves; NX of any level. */
  readonly rights: number
  readonly noExecute: number
  /** What a host lets be done with the page, where one translates. */
  readonly frameRights: number
  readonly faultCode: number
  /** 1 once bits were set where code was decoded from. */
  readonly changed: number
  readonly fault: Label
  /** Number of the nested translation (nested.ts), in walks for processors whose host translates. */
  readonly nested: number | undefined
  /** What a walk that succeeds leaves: accessed and dirty bits and a TLB entry, or nothing. */
  readonly traces: 'left' | 'none'
  /** Number of (base, host address of an entry) -> 1 when setting its bits has changed decoded code. */
  readonly marked: number
}

/** Pushes a word of the state. */
export const load = (w: Walk, offset: number): void => {
  w.code.get(w.base)
  w.code.memory('i32.load', offset)
}

/** Pushes the bits of a permission that hold. */
export function testPermission(w: Walk, bit: number): void {
  w.code.get(w.permissions)
  w.code.i32(bit)
  w.code.op('i32.and')
}

/**
 * Turns a table's physical address in a local into a host address; outside of memory it is a reserved-bit fault. Where a
 * host translates, no address lies in memory. As on AMD's processors tables have to
 * be writable there, as accessed and dirty bits may have to be set.
 */
export function tableToHost(w: Walk, local: number): void {
  unlessInside(w, local, () => {
    translateNested(w, local, () => w.code.i32(TABLE_USE))
    w.code.get(local)
    w.code.i32(-PAGE_SIZE)
    w.code.op('i32.and')
    w.code.set(local)
  })
}

/** The same for the page that the walk is for; where a host translates, that is left until the guest's own rights are checked. */
export function pageToHost(w: Walk): void {
  unlessInside(w, w.table, () => {})
}

/** Puts what a host has of a guest-physical page in a local: page and rights. Ends the walk where it allows not all that is wanted. */
export function translateNested(w: Walk, local: number, wanted: () => void): void {
  const c = w.code
  c.get(w.base)
  c.get(local)
  wanted()
  c.call(w.nested!)
  c.tee(local)
  c.op('i32.eqz')
  c.if()
  c.get(w.base)
  c.get(w.address)
  c.memory('i64.store', State.faultAddress.offset)
  c.i32(0)
  c.op('return')
  c.end()
}

function unlessInside(w: Walk, local: number, nested: () => void): void {
  const c = w.code
  c.get(local)
  load(w, State.physicalBase.offset)
  c.op('i32.add')
  c.tee(local)
  load(w, State.physicalLow.offset)
  c.op('i32.sub')
  load(w, State.physicalSize.offset)
  c.op('i32.ge_u')
  c.if()
  if (w.nested === undefined) raise(w, PAGE_FAULT.PRESENT | PAGE_FAULT.RESERVED)
  else nested()
  c.end()
}

/** Ends the walk with a page fault of that error code. */
export function raise(w: Walk, code: number): void {
  w.code.i32(code)
  w.code.set(w.faultCode)
  w.code.br(w.fault)
}

/** Takes the i64 on the stack for the entry at hand, and ends the walk unless it is present. */
export function takePresent(w: Walk): void {
  const c = w.code
  c.tee(w.entry)
  c.op('i32.wrap_i64')
  c.i32(PTE.PRESENT)
  c.op('i32.and', 'i32.eqz')
  c.if()
  raise(w, 0)
  c.end()
}

/**
 * Pushes the page that the entry at hand names, of as many bits as `mask` says; where a host translates, with the bits above
 * the lowest 32, of which other memory has none.
 */
export function pushPage(w: Walk, mask = -PAGE_SIZE): void {
  const c = w.code
  c.get(w.entry)
  c.op('i32.wrap_i64')
  c.i32(mask)
  c.op('i32.and')
  if (w.nested === undefined) return
  c.get(w.entry)
  c.i64(32)
  c.op('i64.shr_u', 'i32.wrap_i64')
  c.i32(HIGH_PAGE)
  c.op('i32.and', 'i32.or')
}

/** Adds an entry's rights to those of the levels above. */
export function collect(w: Walk): void {
  const c = w.code
  c.get(w.rights)
  c.get(w.entry)
  c.op('i32.wrap_i64', 'i32.and')
  c.set(w.rights)
  c.get(w.noExecute)
  c.get(w.entry)
  c.i64(63)
  c.op('i64.shr_u', 'i32.wrap_i64', 'i32.or')
  c.set(w.noExecute)
}

/** Lets an entry's accessed bit go to a spare word: this level has none. */
export function spare(w: Walk, entry: number): void {
  w.code.get(w.base)
  w.code.i32(State.scratch.offset + 56)
  w.code.op('i32.add')
  w.code.set(entry)
}

/** Leaves #GP(0) in the state; through the stack segment it is a stack fault, which the driver finds out. */
export function raiseProtection(c: Code, base: number, address: number): void {
  c.get(base)
  c.i32(VECTOR.GP)
  c.memory('i32.store', State.faultVector.offset)
  c.get(base)
  c.i32(NOT_CANONICAL)
  c.memory('i32.store', State.faultCode.offset)
  c.get(base)
  c.get(address)
  c.memory('i64.store', State.faultAddress.offset)
}
