/**
 * Host addresses of a region's memory accesses: by the window that they lie in (windows.ts), by the TLB, or by the page of the
 * last access where that is kept in locals (steady.ts). Who finds no translation leaves the region before the instruction.
 */
import { PAGE_SIZE } from '../../../../x86/index.ts'
import type { Code } from '../../../../wasm/index.ts'
import { pushTlbMiss } from '../../emit/tlb-look.ts'
import { TLB } from '../../layout/state.ts'
import type { SteadyPage, SteadyPages } from './steady.ts'
import { accessKey } from './values.ts'
import type { InWindow } from './windows.ts'
import { RegionWindows } from './windows.ts'

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
  /** False for the bytes of several accesses, which may begin anywhere. */
  readonly isAlone?: boolean
}

/** Locals of a page: its linear address, and what leads from a linear address in it to memory. */
interface PageLocals {
  readonly page: number
  readonly delta: number
}

/** The translations of one region. */
export class RegionPages {
  readonly windows: RegionWindows
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
    this.windows = new RegionWindows(code)
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
    const place = this.place(access)
    if (place === undefined) return this.pushThere(access, this.pages.get(accessKey(access.record, access.access)))
    this.code.get(place.host)
    if (place.offset === 0) return
    this.code.i32(place.offset)
    this.code.op('i32.add')
  }

  /** The window that the access of a record lies in, if one is open. */
  inside(record: number, access: 'read' | 'write', bytes: number): InWindow | undefined {
    const found = this.windows.find(accessKey(record, access), bytes, access === 'write')
    if (found === undefined || !('window' in found)) return found
    this.code.release('i32', found.host)
    return undefined
  }

  /** The same, and if it has to be opened first, that is done. */
  place({ record, access, address, bytes }: RegionAccess): InWindow | undefined {
    const c = this.code
    const found = this.windows.find(accessKey(record, access), bytes, access === 'write')
    if (found === undefined || !('window' in found)) return found
    const { window, group, offset } = found
    const start = c.local('i64')
    c.get(address)
    if (offset !== 0) {
      c.i64(-offset)
      c.op('i64.add')
    }
    c.set(start)
    const isAlone = group.members === 1
    this.pushThere({
      access: window.writes ? 'write' : 'read', address: start, bytes: window.high - window.low, record, isAlone,
    }, this.pages.get(group.leader))
    c.set(window.host)
    c.release('i64', start)
    this.windows.open(found)
    return found
  }

  private pushThere(access: RegionAccess, kept: SteadyPage | undefined): void {
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

  /** Pushes 1 unless an access lies in a page that is kept: as far as its beginning and its alignment tell, or as both its ends do. */
  private pushElsewhere({ address, bytes, isAlone = true }: RegionAccess, page: number): void {
    const c = this.code
    const canBeAligned = isAlone && bytes <= MOST_BYTES && (bytes & (bytes - 1)) === 0
    c.get(address)
    c.i64(-PAGE_SIZE | (canBeAligned ? bytes - 1 : 0))
    c.op('i64.and')
    c.get(page)
    c.op('i64.ne')
    if (canBeAligned) return
    c.get(address)
    c.op('i32.wrap_i64')
    c.i32(PAGE_SIZE - 1)
    c.op('i32.and')
    c.i32(PAGE_SIZE - bytes)
    c.op('i32.gt_u', 'i32.or')
  }

  /** By the page kept, if the access ends there too; else by the TLB, whose page is kept from then on. */
  private pushKept(access: RegionAccess, kept: SteadyPage): void {
    const c = this.code
    const { page, delta } = this.locals.get(kept)!
    this.pushElsewhere(access, page)
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
