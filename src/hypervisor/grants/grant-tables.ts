/**
 * The grant tables of all domains: who may do what to whose table. The rules of each operation lie in files of their
 * own. Statuses are GNTST; operations that have none return 0 or a negative error number.
 *
 * Reference: xen/common/grant_table.c (do_grant_table_op), public/grant_table.h.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { DOMID, ERRNO, GNTMAP, GNTST, GNTTAB_CACHE, GTF, GrantEntryV1, GrantEntryV2 } from '../../abi/index.ts'
import { sameState, type DomId, type Rewind, type Stateful } from '../../util/index.ts'
import { WORK } from '../time/work-meter.ts'
import { GrantCopier } from './copying.ts'
import { GrantTable } from './grant-table.ts'
import { checkGrantState, type GrantState } from './grant-state.ts'
import { GrantMapper } from './mapping.ts'
import { transferFrame } from './transfer.ts'
import type {
  CopyRequest, GrantCaller, GrantDomain, MapRequest, MapResult, MappingHost, TransferRequest, UnmapRequest,
} from './types.ts'
import { setVersion } from './versions.ts'


/** Bit by which an index means a status frame; entries of version 2 in a frame, and those that a status frame speaks of. */
const STATUS_INDEX = 0x8000_0000
const [GRANTS_PER_FRAME, GRANTS_PER_STATUS_FRAME] = [PAGE_SIZE / GrantEntryV2.size, PAGE_SIZE / 2] as const

/** GNTTABOP_cache_flush. */
export interface CacheFlushRequest {
  /** Machine address. */
  readonly address: number
  readonly offset: number
  readonly length: number
  readonly op: number
}

const refused = (status: number): MapResult => ({ status, handle: 0, mfn: 0 })

/** All grant tables of one host. `V` is the hypervisor's own vCPU. */
export class GrantTables<V extends GrantCaller> implements Stateful<GrantState> {
  private readonly host: MappingHost<V>
  private readonly tables = new Map<number, GrantTable>()
  private readonly mapper: GrantMapper<V>
  private readonly copier: GrantCopier

  constructor(host: MappingHost<V>) {
    this.host = host
    this.mapper = new GrantMapper(host)
    this.copier = new GrantCopier(host, (domid) => this.tables.get(domid))
  }

  /** Gives a new domain a table of one frame: 0, or -ENOMEM when the host has none. */
  addDomain(domain: GrantDomain): number {
    const table = new GrantTable(this.host, domain)
    if (!table.grow(1)) return -ERRNO.ENOMEM
    this.tables.set(domain.id, table)
    return 0
  }

  /** Gives a domain that is being loaded a table without frames, which {@link GrantTables.load} fills. */
  awaitDomain(domain: GrantDomain): void {
    this.tables.set(domain.id, new GrantTable(this.host, domain))
  }

  /**
   * The domain dies: gives up all that it maps, and its table's frames. What others map of it stays until they unmap
   * it; nobody can map more.
   */
  retireDomain(id: DomId): void {
    for (const _ of this.retiring(id));
  }

  /** The same, step by step. */
  *retiring(id: DomId): Generator<void> {
    const table = this.tables.get(id)
    if (table === undefined) return
    yield* this.mapper.releaseAll(table, (domid) => this.tables.get(domid))
    table.retire()
  }

  /** Forgets a domain whose last frame is gone. */
  removeDomain(id: DomId): void {
    this.retireDomain(id)
    this.tables.delete(id)
  }

  /** The table of a domain, or undefined. */
  of(id: number): GrantTable | undefined {
    return this.tables.get(id)
  }

  /** GNTTABOP_map_grant_ref. */
  map(caller: V, request: MapRequest): MapResult {
    if ((request.flags & (GNTMAP.host_map | GNTMAP.device_map)) === 0) return refused(GNTST.bad_gntref)
    const here = this.tables.get(caller.domid)
    const there = this.tables.get(request.domid)
    if (here === undefined || there === undefined) return refused(GNTST.bad_domain)
    if (!this.host.mayShare('grant_mapref', caller.domid, request.domid)) return refused(GNTST.permission_denied)
    return this.mapper.map({ caller, here, there }, request)
  }

  /** GNTTABOP_unmap_grant_ref, and unmap_and_replace with a new address. The caller flushes once for a batch. */
  unmap(caller: V, request: UnmapRequest): number {
    const here = this.tables.get(caller.domid)
    if (here === undefined) return GNTST.bad_domain
    return this.mapper.unmap({ caller, here }, request, (domid) => this.tables.get(domid))
  }

  /** Makes the caller's vCPUs forget what has been unmapped: once after a batch. */
  flush(caller: DomId): void {
    this.host.flushTlb(caller)
  }

  /** GNTTABOP_copy. */
  copy(caller: DomId, request: CopyRequest): number {
    const table = this.tables.get(caller)
    return table === undefined ? GNTST.bad_domain : this.copier.copy(table, request)
  }

  /** GNTTABOP_transfer. */
  transfer(caller: DomId, request: TransferRequest): number {
    const table = this.tables.get(caller)
    if (table !== undefined && this.tables.has(request.domid) && !this.host.mayShare('grant_transfer', caller, request.domid)) return GNTST.permission_denied
    return table === undefined ? GNTST.bad_domain : transferFrame(this.host, table, request, (domid) => this.tables.get(domid))
  }

  /** GNTTABOP_setup_table: the frames of a table grown to at least `count`, as its guest knows them, or a GNTST status. */
  setup(caller: DomId, domid: number, count: number): readonly number[] | number {
    const table = this.reach(caller, domid)
    this.host.meter.charge(count * WORK.element)
    if (typeof table === 'number') return table
    if (table.retired || count > table.domain.maxGrantFrames || !table.grow(count)) return GNTST.general_error
    return table.frames.slice(0, count).map((mfn) => table.guestFrame(mfn))
  }

  /**
   * A frame of a domain's table that is to have a place in its memory, by XENMAPSPACE_grant_table's index: the table grows to
   * have it. -EINVAL beyond what it may have.
   */
  frameToPlace(domid: DomId, index: number): number {
    const table = this.tables.get(domid)
    if (table === undefined || table.retired) return -ERRNO.EINVAL
    const isStatus = table.version === 2 && index >= STATUS_INDEX
    const wanted = isStatus ? index - STATUS_INDEX : index
    const grantFrames = isStatus ? Math.floor((wanted * GRANTS_PER_STATUS_FRAME) / GRANTS_PER_FRAME) + 1 : wanted + 1
    const frames = isStatus ? table.statusFrames : table.frames
    if (wanted >= frames.length && grantFrames <= table.domain.maxGrantFrames) table.grow(grantFrames)
    return frames[wanted] ?? -ERRNO.EINVAL
  }

  /** GNTTABOP_get_status_frames: the first `count` of them, or a GNTST status. */
  statusFrames(caller: DomId, domid: number, count: number): readonly number[] | number {
    const table = this.reach(caller, domid)
    if (typeof table === 'number') return table
    return count > table.statusFrames.length ? GNTST.general_error : table.statusFrames.slice(0, count).map((mfn) => table.guestFrame(mfn))
  }

  /** GNTTABOP_query_size, or a GNTST status. */
  querySize(caller: DomId, domid: number): { readonly frames: number; readonly maxFrames: number } | number {
    const table = this.reach(caller, domid)
    return typeof table === 'number' ? table : { frames: table.frames.length, maxFrames: table.domain.maxGrantFrames }
  }

  /** A frame of a domain's table for its tools: see {@link GrantTables.frameToPlace}. */
  resourceFrame(domid: DomId, kind: 'shared' | 'status', index: number): number {
    return this.frameToPlace(domid, kind === 'status' ? STATUS_INDEX + index : index)
  }

  /** How many frames of a kind a domain's table may have; 0 for status frames of one of version 1, and of a dead domain's. */
  resourceLimit(domid: DomId, kind: 'shared' | 'status'): number {
    const table = this.tables.get(domid)
    if (table === undefined || table.retired || (kind === 'status' && table.version !== 2)) return 0
    const { maxGrantFrames } = table.domain
    return kind === 'shared' ? maxGrantFrames : Math.ceil((maxGrantFrames * GRANTS_PER_FRAME) / GRANTS_PER_STATUS_FRAME)
  }

  /**
   * GNTTABOP_set_version of the caller's own table: 0 or a negative error number. See {@link GrantTables.versionOf}
   * for the outcome.
   */
  setVersion(caller: DomId, version: number): number {
    const table = this.tables.get(caller)
    if (table === undefined) return -ERRNO.ESRCH
    this.host.meter.charge(table.active.size * WORK.look + table.frames.length * WORK.page)
    return setVersion(table, version, this.host.memory)
  }

  /** GNTTABOP_get_version: the version, or a negative error number. */
  getVersion(caller: DomId, domid: number): number {
    const table = this.lookUp(caller, domid)
    if (table === undefined) return -ERRNO.ESRCH
    return this.mayAct(caller, table) ? table.version : -ERRNO.EPERM
  }

  /** Version of a domain's table, or -ESRCH. */
  versionOf(domid: DomId): number {
    return this.tables.get(domid)?.version ?? -ERRNO.ESRCH
  }

  /** GNTTABOP_swap_grant_ref of the caller's own entries; GNTST status. */
  swap(caller: DomId, refA: number, refB: number): number {
    const table = this.tables.get(caller)
    if (table === undefined) return GNTST.bad_domain
    if (refA >= table.entryCount || refB >= table.entryCount) return GNTST.bad_gntref
    if (refA === refB) return GNTST.okay
    if (table.active.has(refA) || table.active.has(refB)) return GNTST.eagain
    const size = table.version === 1 ? GrantEntryV1.size : GrantEntryV2.size
    this.swapBytes(table.entryAt(refA), table.entryAt(refB), size)
    if (table.version === 2) this.swapBytes(table.statusAt(refA), table.statusAt(refB), 2)
    return GNTST.okay
  }

  /**
   * GNTTABOP_cache_flush: 0 or a negative error number. Caches here are coherent, so only the right to ask is
   * checked.
   */
  cacheFlush(caller: DomId, request: CacheFlushRequest): number {
    const { offset, length, op } = request
    const unknown = op & ~(GNTTAB_CACHE.INVAL | GNTTAB_CACHE.CLEAN)
    if (offset >= PAGE_SIZE || length > PAGE_SIZE || offset + length > PAGE_SIZE || unknown !== 0) return -ERRNO.EINVAL
    if (length === 0 || op === 0) return 0
    const mfn = Math.floor(request.address / PAGE_SIZE)
    if (mfn >= this.host.memory.endFrame) return -ERRNO.EINVAL
    if (!this.isAccessible(caller, mfn)) return -ERRNO.EPERM
    return op === GNTTAB_CACHE.INVAL ? -ERRNO.EOPNOTSUPP : 0
  }

  /**
   * Writes an entry of a domain's table as the toolstack does for console and XenStore: 0, -ESRCH when there is no such
   * table, -EINVAL beyond it.
   */
  seed(domid: DomId, ref: number, entry: { readonly remote: DomId; readonly frame: number }): number {
    const table = this.tables.get(domid)
    if (table === undefined) return -ERRNO.ESRCH
    if (table.retired || ref >= table.entryCount) return -ERRNO.EINVAL
    const at = table.entryAt(ref)
    const { view } = this.host.memory
    this.host.memory.markWritten(at >>> PAGE_SHIFT)
    if (table.version === 1) {
      GrantEntryV1.encode(view, at, { flags: GTF.permit_access, domid: entry.remote, frame: entry.frame })
    } else {
      GrantEntryV2.fullPageFrame.setNumber(view, at, entry.frame)
      GrantEntryV2.domid.set(view, at, entry.remote)
      GrantEntryV2.flags.set(view, at, GTF.permit_access)
    }
    return 0
  }

  /** Frames of others that a domain has mapped and may reach until it unmaps them, whoever counts the references. */
  *mapped(domid: DomId): IterableIterator<{ readonly mfn: number; readonly writable: boolean }> {
    for (const [, mapping] of this.tables.get(domid)?.maptrack.entries() ?? []) {
      const active = this.tables.get(mapping.domid)?.active.get(mapping.ref)
      if (active === undefined || (mapping.flags & GNTMAP.host_map) === 0) continue
      yield { mfn: active.mfn, writable: (mapping.flags & GNTMAP.readonly) === 0 }
    }
  }

  /** References that a domain's mappings hold beside its page tables: one for each. */
  *uses(domid: DomId): IterableIterator<{ readonly mfn: number; readonly writable: boolean }> {
    const table = this.tables.get(domid)
    if (table === undefined) return
    for (const [, mapping] of table.maptrack.entries()) {
      const active = this.tables.get(mapping.domid)?.active.get(mapping.ref)
      if (active === undefined) continue
      const use = { mfn: active.mfn, writable: (mapping.flags & GNTMAP.readonly) === 0 }
      if ((mapping.flags & GNTMAP.device_map) !== 0) yield use
      if ((mapping.flags & GNTMAP.host_map) !== 0 && table.domain.mapsBy !== 'table') yield use
    }
  }

  save(): GrantState {
    return { domains: [...this.tables.values()].map((table) => table.save()) }
  }

  isAsSaved({ domains }: GrantState): boolean {
    if (domains.length !== this.tables.size) return false
    let at = 0
    for (const table of this.tables.values()) if (!table.isAsSaved(domains[at++]!)) return false
    return true
  }

  /** The domains wait for their tables, whose frames are referenced already. */
  load(state: GrantState): void {
    this.checkState(state)
    for (const saved of state.domains) this.tables.get(saved.domid)!.load(saved)
  }

  /** In place where the same domains have the same tables, whatever is in use of them. */
  rewind(state: GrantState, now: GrantState): Rewind | undefined {
    const tables = ({ domains }: GrantState): unknown => domains.map(({ domid, version, frames, statusFrames, retiredWith }) => (
      [domid, version, frames, statusFrames, retiredWith]
    ))
    if (!sameState(tables(state), tables(now))) return undefined
    return () => {
      for (const saved of state.domains) this.tables.get(saved.domid)!.load(saved)
    }
  }

  /** Checks that all tables, uses and mappings agree. Throws INVALID_STATE with what does not. */
  check(): void {
    this.checkState(this.save())
  }

  private checkState(state: GrantState): void {
    checkGrantState(state, (domid) => this.tables.get(domid)?.domain, this.host.memory.endFrame)
  }

  private lookUp(caller: DomId, domid: number): GrantTable | undefined {
    return this.tables.get(domid === DOMID.SELF ? caller : domid)
  }

  /** A table that the caller may set up and ask about, or a GNTST status. */
  private reach(caller: DomId, domid: number): GrantTable | number {
    const table = this.lookUp(caller, domid)
    if (table === undefined) return GNTST.bad_domain
    return this.mayAct(caller, table) ? table : GNTST.permission_denied
  }

  private mayAct(caller: DomId, table: GrantTable): boolean {
    return caller === table.domain.id || this.host.mayControl(caller, table.domain.id)
  }

  /** True for the caller's own frames and for those that it has a grant of in use. */
  private isAccessible(caller: DomId, mfn: number): boolean {
    if (this.host.frames.getPage(mfn, caller)) {
      this.host.frames.putPage(mfn)
      return true
    }
    for (const table of this.tables.values()) {
      this.host.meter.charge(table.active.size * WORK.look)
      for (const active of table.active.values()) if (active.domid === caller && active.mfn === mfn) return true
    }
    return false
  }

  private swapBytes(a: number, b: number, size: number): void {
    const { bytes } = this.host.memory
    const kept = bytes.slice(a, a + size)
    bytes.copyWithin(a, b, b + size)
    bytes.set(kept, b)
    for (const at of [a, b]) this.host.memory.markWritten(at >>> PAGE_SHIFT)
  }
}
