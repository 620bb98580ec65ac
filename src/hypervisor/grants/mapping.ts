/**
 * Mapping others' grants and taking the mappings down.
 *
 * A mapping holds: a use in the entry's record, a reference on the frame for each of host and device mapping, and a
 * writable type for each where it may write. In a domain with page tables, the references of a host mapping lie with
 * its page-table entry.
 *
 * Reference: xen/common/grant_table.c (map_grant_ref, unmap_common, unmap_common_complete, gnttab_release_mappings).
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { GNTMAP, GNTST } from '../../abi/index.ts'
import { WORK } from '../time/work-meter.ts'
import type { GrantTable } from './grant-table.ts'
import type { Mapping } from './maptrack.ts'
import { isWritePinned, pinsFor, wouldOverflow, type ActiveEntry } from './pins.ts'
import type { GrantCaller, MapRequest, MapResult, MappingHost, UnmapRequest } from './types.ts'

const BOTH = GNTMAP.host_map | GNTMAP.device_map

const failed = (status: number): MapResult => ({ status, handle: 0, mfn: 0 })

/** Who maps, the table of its domain, and the table that grants. */
interface MappingSides<V> {
  readonly caller: V
  readonly here: GrantTable
  readonly there: GrantTable
}

/** Maps the grants of one domain (`there`) into another (`here`). */
export class GrantMapper<V extends GrantCaller> {
  private readonly host: MappingHost<V>

  constructor(host: MappingHost<V>) {
    this.host = host
  }

  /** GNTTABOP_map_grant_ref, after the granting domain has been found. */
  map(sides: MappingSides<V>, request: MapRequest): MapResult {
    const { here, there } = sides
    const { flags, ref } = request
    const pins = pinsFor(flags)
    const handle = here.maptrack.next()
    if (handle < 0) return failed(GNTST.no_space)
    if (there.retired || ref >= there.entryCount) return failed(GNTST.bad_gntref)
    const readOnly = (flags & GNTMAP.readonly) !== 0
    const active = this.use(here, there, { ref, pins, readOnly })
    if (typeof active === 'number') return failed(active)
    const status = this.attach(sides, { active, request, readOnly })
    if (status !== GNTST.okay) {
      active.pin -= pins
      there.settle(ref, readOnly)
      return failed(status)
    }
    here.maptrack.set(handle, { domid: there.domain.id, ref, flags })
    return { status: GNTST.okay, handle, mfn: active.mfn }
  }

  /**
   * GNTTABOP_unmap_grant_ref and unmap_and_replace. `tableOf` finds the granting domain's table. The caller flushes
   * the TLB afterwards: nothing else runs in between.
   */
  unmap(
    { caller, here }: Pick<MappingSides<V>, 'caller' | 'here'>, request: UnmapRequest,
    tableOf: (domid: number) => GrantTable | undefined,
  ): number {
    const mapping = here.maptrack.get(request.handle)
    if (mapping === undefined) return GNTST.bad_handle
    const there = tableOf(mapping.domid)
    if (there === undefined) {
      this.host.crash(caller, `grant handle ${request.handle} names domain ${mapping.domid}, which is gone`)
      return GNTST.bad_domain
    }
    const active = there.active.get(mapping.ref)
    if (active === undefined) return GNTST.bad_handle
    const { flags } = mapping
    const unmapsHost = (flags & GNTMAP.host_map) !== 0 && (request.address !== 0 || here.domain.mapsBy === 'direct')
    const unmapsDevice = (flags & GNTMAP.device_map) !== 0 && request.busAddress !== 0
    if (unmapsDevice && request.busAddress !== active.mfn * PAGE_SIZE) return GNTST.bad_dev_addr
    if (unmapsHost && here.domain.mapsBy !== 'direct') {
      const { address, newAddress } = request
      const status = this.host.removeMapping(caller, { address, newAddress, mfn: active.mfn, flags })
      if (status !== GNTST.okay) return status
    }
    const gone = (unmapsHost ? GNTMAP.host_map : 0) | (unmapsDevice ? GNTMAP.device_map : 0)
    mapping.flags &= ~gone
    if ((mapping.flags & BOTH) === 0) here.maptrack.release(request.handle)
    if (gone !== 0) this.detach(there, mapping, { active, kinds: gone | (flags & GNTMAP.readonly) })
    return GNTST.okay
  }

  /**
   * A dying domain gives up all that it has mapped. Where entries hold the references, they go with the page tables.
   */
  *releaseAll(here: GrantTable, tableOf: (domid: number) => GrantTable | undefined): Generator<void> {
    for (const [handle, mapping] of here.maptrack.entries()) {
      if (this.host.meter.isSpent) yield
      const there = tableOf(mapping.domid)
      const active = there?.active.get(mapping.ref)
      const kinds = mapping.flags & (BOTH | GNTMAP.readonly)
      here.maptrack.release(handle)
      this.host.meter.charge(WORK.grant)
      if (there === undefined || active === undefined) continue
      const keepsHost = here.domain.mapsBy === 'table'
      this.detach(there, mapping, { active, kinds, keepsHostReference: keepsHost })
    }
  }

  /** Brings an entry into one more use; its record, or a GNTST status. */
  private use(
    here: GrantTable, there: GrantTable,
    { ref, pins, readOnly }: { readonly ref: number; readonly pins: number; readonly readOnly: boolean },
  ): ActiveEntry | number {
    const active = there.active.get(ref)
    const domid = here.domain.id
    if (active !== undefined && (active.domid !== domid || wouldOverflow(active.pin, pins) || active.isSubPage)) {
      return GNTST.general_error
    }
    if (active === undefined || (!readOnly && !isWritePinned(active.pin))) {
      const status = there.announce(ref, { readOnly, map: true, domid })
      if (status !== GNTST.okay) return status
    }
    if (active !== undefined) {
      active.pin += pins
      return active
    }
    const mfn = there.machineFrame(there.frameOf(ref))
    if (!this.host.frames.getPage(mfn, there.domain.id)) {
      there.settle(ref, readOnly)
      return GNTST.bad_page
    }
    // The mapping takes references of its own; this one only proved who owns the frame.
    const fresh: ActiveEntry = {
      pin: pins, domid, mfn, start: 0, length: PAGE_SIZE, isSubPage: false, transDomain: there.domain.id, transRef: ref,
    }
    there.active.set(ref, fresh)
    this.host.frames.putPage(mfn)
    return fresh
  }

  /** Takes the references that a mapping needs and makes it; undone when anything fails. */
  private attach(
    { caller, here, there }: MappingSides<V>,
    { active, request, readOnly }: {
      readonly active: ActiveEntry; readonly request: MapRequest; readonly readOnly: boolean
    },
  ): number {
    const { flags } = request
    const { mfn } = active
    const wanted = (flags & BOTH) === BOTH ? 2 : (flags & BOTH) === 0 ? 0 : 1
    let taken = 0
    while (taken < wanted && this.take(mfn, there, readOnly)) taken += 1
    let status: number = taken === wanted ? GNTST.okay : GNTST.general_error
    if (status === GNTST.okay && (flags & GNTMAP.host_map) !== 0 && here.domain.mapsBy !== 'direct') {
      status = this.host.installMapping(caller, { address: request.address, mfn, flags })
    }
    if (status !== GNTST.okay) for (; taken > 0; taken -= 1) this.give(mfn, readOnly)
    return status
  }

  /** Ends some of a mapping's kinds: references, uses, bits. */
  private detach(
    there: GrantTable, mapping: Mapping,
    { active, kinds, keepsHostReference = false }: {
      readonly active: ActiveEntry; readonly kinds: number; readonly keepsHostReference?: boolean
    },
  ): void {
    const readOnly = (kinds & GNTMAP.readonly) !== 0
    if (!readOnly) this.host.memory.markWritten(active.mfn)
    active.pin -= pinsFor(kinds)
    if ((kinds & GNTMAP.device_map) !== 0) this.give(active.mfn, readOnly)
    if ((kinds & GNTMAP.host_map) !== 0 && !keepsHostReference) this.give(active.mfn, readOnly)
    there.settle(mapping.ref, readOnly)
  }

  private take(mfn: number, there: GrantTable, readOnly: boolean): boolean {
    const { frames } = this.host
    if (!frames.getPage(mfn, there.domain.id)) return false
    if (readOnly || frames.getWritable(mfn)) return true
    frames.putPage(mfn)
    return false
  }

  private give(mfn: number, readOnly: boolean): void {
    if (!readOnly) this.host.frames.putWritable(mfn)
    this.host.frames.putPage(mfn)
  }
}
