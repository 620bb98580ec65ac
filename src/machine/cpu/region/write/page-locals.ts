/**
 * Host addresses of a region's memory accesses: by the TLB, or by the page of the last access where that is kept in locals
 * (steady.ts). Who finds no translation leaves the region before the instruction.
 */
import { PAGE_SIZE } from '../../../../x86/index.ts'
import type { Code } from '../../../../wasm/index.ts'
import { pushTlbMiss } from '../../emit/tlb-look.ts'
import { TLB } from '../../layout/state.ts'
import type { SteadyPage, SteadyPages } from './steady.ts'
import { accessKey } from './steady.ts'

/** A page that no access is in: alignment bits of accesses lie below, addresses of pages above. */
const NO_PAGE = PAGE_SIZE / 2
/** Most bytes of an access to a page that is kept. */
const MOST_BYTES = 16

/** An access to memory. */
export interface RegionAccess {
  readonly access: 'read' | 'write'
  /** Local with the linear address. */
  readonly address: number
  readonly bytes: number
  /** Host address of the record. */
  readonly record: number
}

/** Locals of a page: its linear address, and what leads from a linear address in it to memory. */
interface PageLocals {
  readonly page: number
  readonly delta: number
}

/** The translations of one region. */
export class RegionPages {
  private readonly code: Code
  private readonly pages: SteadyPages
  private readonly locals = new Map<SteadyPage, PageLocals>()
  /** Local with the TLB bank in use. */
  private readonly bank: number
  /** Leaves the region when the i32 on the stack is not 0. */
  private readonly leaveIf: () => void

  constructor(code: Code, pages: SteadyPages, leaveIf: () => void) {
    this.code = code
    this.pages = pages
    this.leaveIf = leaveIf
    this.bank = code.local('i32')
  }

  /** Begins with no page, and the bank whose address is on the stack. */
  begin(): void {
    const c = this.code
    c.set(this.bank)
    for (const page of new Set(this.pages.values())) {
      const locals = { page: c.local('i64'), delta: c.local('i32') }
      this.locals.set(page, locals)
      c.i64(NO_PAGE)
      c.set(locals.page)
    }
  }

  /** Pushes the host address of an access. */
  pushHost(access: RegionAccess): void {
    const canBeAligned = access.bytes <= MOST_BYTES && (access.bytes & (access.bytes - 1)) === 0
    const kept = canBeAligned ? this.pages.get(accessKey(access.record, access.access)) : undefined
    if (kept !== undefined) return this.pushKept(access, kept)
    const entry = this.lookUp(access)
    this.pushThrough(access, () => this.pushDelta(entry))
    this.code.release('i32', entry)
  }

  private pushDelta(entry: number): void {
    this.code.get(entry)
    this.code.memory('i32.load', TLB.delta)
  }

  private pushThrough({ address }: RegionAccess, pushDelta: () => void): void {
    this.code.get(address)
    this.code.op('i32.wrap_i64')
    pushDelta()
    this.code.op('i32.add')
  }

  /** Finds the TLB's entry; an access into the next page differs from every tag. The entry's address in a local. */
  private lookUp({ access, address, bytes }: RegionAccess): number {
    const c = this.code
    const entry = c.local('i32')
    pushTlbMiss(c, { access, address, bytes, entry, pushBank: () => c.get(this.bank) })
    this.leaveIf()
    return entry
  }

  /** By the page kept, if the access is aligned, so that it ends there too; else by the TLB, whose page is kept from then on. */
  private pushKept(access: RegionAccess, kept: SteadyPage): void {
    const c = this.code
    const { page, delta } = this.locals.get(kept)!
    c.get(access.address)
    c.i64(-PAGE_SIZE | (access.bytes - 1))
    c.op('i64.and')
    c.get(page)
    c.op('i64.ne')
    c.unlikely()
    if (kept.access === access.access) {
      c.if()
      const entry = this.lookUp(access)
      c.get(access.address)
      c.i64(-PAGE_SIZE)
      c.op('i64.and')
      c.set(page)
      this.pushDelta(entry)
      c.set(delta)
      c.end()
      this.pushThrough(access, () => c.get(delta))
      return c.release('i32', entry)
    }
    // What is written may be read, but not the other way round.
    c.if('i32')
    const entry = this.lookUp(access)
    this.pushDelta(entry)
    c.else()
    c.get(delta)
    c.end()
    c.release('i32', entry)
    const found = c.local('i32')
    c.set(found)
    this.pushThrough(access, () => c.get(found))
    c.release('i32', found)
  }
}
