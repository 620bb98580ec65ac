/**
 * What grant tables ask of the rest of the hypervisor, and the requests and answers of their operations.
 * Statuses are those of GNTST: 0, or a negative number.
 */
import type { DomId } from '../../util/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { WorkMeter } from '../time/work-meter.ts'

/** A domain as far as its grant table is concerned. */
export interface GrantDomain {
  readonly id: DomId
  /** Frames that its table may grow to. */
  readonly maxGrantFrames: number
  /** Frames' worth of records (256 each) that it may have of others' grants mapped. */
  readonly maxMaptrackFrames: number
  /** Highest version that it may choose. */
  readonly maxVersion: 1 | 2
  /**
   * `table`: it maps by page-table entries, which hold the references of its mappings. `direct`: it has no page tables
   * (a guest in TypeScript) and reaches the frame at once. `place`: it maps at places of its physical map.
   */
  readonly mapsBy: 'table' | 'direct' | 'place'
  /** Of a translated domain: its frame of the host by a frame number of its own, -1 for none; and one that has come or goes. */
  readonly physmap?: GrantPhysicalMap | undefined
}

/** The physical map of a translated domain, as far as grants go. */
export interface GrantPhysicalMap {
  frame(gfn: number): number
  /** Where a frame of the domain's own lies; -1 for nowhere. */
  placeOf(mfn: number): number
  /** Puts a frame of the domain's own at a frame number; 0, or a negative error number. */
  place(gfn: number, mfn: number): number
  /** A frame of the domain's own is not its own any more. */
  forget(mfn: number): void
}

/** Frames as grant tables use them. References and types are those of the frame table. */
export interface GrantFrames {
  /** Takes a reference on a frame that `owner` owns; false when it does not. */
  getPage(mfn: number, owner: DomId): boolean
  putPage(mfn: number): void
  /** True for a frame that `owner` owns, for something that ends before anything else runs: such a use needs no reference. */
  isOwnedBy(mfn: number, owner: DomId): boolean
  /** True for a frame that is writable already and stays so until something else runs; false where it is not known. */
  isWritable(mfn: number): boolean
  /** Takes a writable type reference; false when the frame is used as something else. */
  getWritable(mfn: number): boolean
  putWritable(mfn: number): void
  /** A zeroed frame of the hypervisor's that the domain may map writable; -1 when there is none. */
  allocateShared(domid: DomId): number
  /** True while nobody maps a frame of {@link GrantFrames.allocateShared}. */
  isUnmapped(mfn: number): boolean
  /** Gives a frame of {@link GrantFrames.allocateShared} back; it goes once nobody maps it any more. */
  freeShared(mfn: number): void
  /**
   * Takes a plain frame from its owner. 0; -EINVAL when it is not the owner's plain frame; another negative number
   * otherwise.
   */
  steal(mfn: number, owner: DomId): number
  /** Gives a stolen frame to a domain; false when it has no room. */
  adopt(mfn: number, owner: DomId): boolean
  /** True when the domain lives and may own one more frame. */
  hasRoom(domid: DomId): boolean
  /** Frees a stolen frame. */
  discard(mfn: number): void
  /** Writes the machine-to-physical entry of a frame. */
  setPfn(mfn: number, pfn: number): void
}

/** A vCPU, as far as grant tables know it: its domain maps, its page tables translate addresses. */
export interface GrantCaller {
  readonly domid: DomId
}

/** A mapping to make. */
export interface InstallRequest {
  /** Virtual address, or machine address of a page-table entry with GNTMAP.contains_pte. A signed number. */
  readonly address: number
  readonly mfn: number
  /** GNTMAP flags. */
  readonly flags: number
}

/** A mapping to take down. */
export interface RemoveRequest extends InstallRequest {
  /** Virtual address whose entry is to be moved to `address`; 0 for none. */
  readonly newAddress: number
}

/** What grant tables ask of the hypervisor around them. */
export interface GrantHost {
  readonly memory: GuestMemory
  readonly meter: WorkMeter
  readonly frames: GrantFrames
  /** True when `caller` may act for `target`. Not asked about itself. */
  mayControl(caller: DomId, target: DomId): boolean
  /** Whether the host's policy lets `caller` share memory with `other`. */
  mayShare(hook: 'grant_mapref' | 'grant_copy' | 'grant_transfer', caller: DomId, other: number): boolean
  /** Entries have been removed: no vCPU of the domain may use them any more. */
  flushTlb(domid: DomId): void
}

/** What mapping asks beyond that: `V` is the hypervisor's own vCPU, which goes through here unseen. */
export interface MappingHost<V extends GrantCaller> extends GrantHost {
  /**
   * Writes a page-table entry of the vCPU's that maps the frame. The references that it needs have been taken;
   * those of the entry that stood there are given back. GNTST.okay or general_error.
   */
  installMapping(vcpu: V, request: InstallRequest): number
  /**
   * Replaces the entry that maps the frame, after checking that it does with the same rights. References stay: they
   * are given back here. GNTST.okay or general_error.
   */
  removeMapping(vcpu: V, request: RemoveRequest): number
  /** The vCPU's domain holds a mapping of a domain that is gone: it has overwritten an entry behind the table's back. */
  crash(vcpu: V, reason: string): void
}

/** GNTTABOP_map_grant_ref. */
export interface MapRequest {
  readonly address: number
  readonly flags: number
  readonly ref: number
  readonly domid: number
}

/** What mapping yields; handle and frame count only when the status is 0. */
export interface MapResult {
  readonly status: number
  readonly handle: number
  readonly mfn: number
}

/** GNTTABOP_unmap_grant_ref and GNTTABOP_unmap_and_replace. Addresses are 0 where that side is not to be unmapped. */
export interface UnmapRequest {
  readonly handle: number
  readonly address: number
  /** Machine address of the frame: takes down the device mapping. */
  readonly busAddress: number
  readonly newAddress: number
}

/** One side of GNTTABOP_copy. */
export interface CopySide {
  /** DOMID_SELF for frames. */
  readonly domid: number
  readonly isGrant: boolean
  /** Grant reference, or frame of the caller's own. */
  readonly number: number
  readonly offset: number
}

/** GNTTABOP_copy. */
export interface CopyRequest {
  readonly source: CopySide
  readonly destination: CopySide
  readonly length: number
}

/** GNTTABOP_transfer. */
export interface TransferRequest {
  readonly mfn: number
  readonly domid: number
  readonly ref: number
}
