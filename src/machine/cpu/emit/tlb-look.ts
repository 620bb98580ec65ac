/**
 * The look into the TLB that generated code makes for each access to memory, in the interpreter's loop and in regions. What
 * lies outside of both, misses and accesses across pages, is in runtime/access.ts.
 *
 * hot path: every load and store that an emulated program makes goes through these instructions.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import type { Code } from '../../../wasm/index.ts'
import { TLB } from '../layout/state.ts'

/** log2 of a TLB entry's bytes. */
const ENTRY_SHIFT = Math.log2(TLB.entryBytes)

/** An access to be looked up. */
export interface TlbLook {
  readonly access: 'read' | 'write'
  /** Local with the linear address. */
  readonly address: number
  readonly bytes: number
  /** Local that receives the entry's address. */
  readonly entry: number
  /** Pushes the address of the bank in force. */
  pushBank(): void
}

/** Pushes 1 unless the TLB has the page; an access into the next page differs from every tag. */
export function pushTlbMiss(c: Code, { access, address, bytes, entry, pushBank }: TlbLook): void {
  c.get(address)
  c.i64(PAGE_SHIFT - ENTRY_SHIFT)
  c.op('i64.shr_u', 'i32.wrap_i64')
  c.i32((TLB.entries - 1) << ENTRY_SHIFT)
  c.op('i32.and')
  pushBank()
  c.op('i32.add')
  c.tee(entry)
  c.memory('i64.load', TLB[access])
  c.get(address)
  if (bytes > 1) {
    c.i64(bytes - 1)
    c.op('i64.add')
  }
  c.i64(-PAGE_SIZE)
  c.op('i64.and', 'i64.ne')
}
