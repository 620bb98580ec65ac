/**
 * The typed door of a guest written in TypeScript. Structurally the interface that the guest kit declares for itself;
 * declared here so that nothing in this layer looks up at the guest's.
 * Results are those of the ABI: zero or positive on success, a negative error number on failure.
 */
import type { DomId, EventPort, GrantHandle, GrantRef, Mfn } from '../util/index.ts'

/** One side of a grant copy: an own frame, or a grant of another domain. */
export type PortCopySide =
  | { readonly frame: Mfn; readonly offset: number }
  | { readonly domain: DomId; readonly ref: GrantRef; readonly offset: number }

/** One grant copy. Reference: public/grant_table.h, struct gnttab_copy. */
export interface PortCopy {
  readonly source: PortCopySide
  readonly destination: PortCopySide
  readonly length: number
}

/** What a TypeScript guest can ask of the hypervisor; see the guest kit's interface of the same shape. */
export interface HypercallPort {
  readonly domain: DomId
  readonly memory: {
    readonly view: DataView
    readonly bytes: Uint8Array
    readonly words: Uint32Array
    /** Tells of bytes written by TypeScript: drops instructions decoded from the frame and feeds the dirty log. */
    markWritten(mfn: number): void
  }
  /** Host time in nanoseconds. */
  now(): number
  /** A new port of `domain` (DOMID.SELF is the caller) that `remote` may bind to. */
  allocUnbound(domain: DomId, remote: DomId): number
  /** A new port joined to the unbound `remotePort` of `remote`; pending at once, as the ABI has it. */
  bindInterdomain(remote: DomId, remotePort: EventPort): number
  /** A new port on which virtual interrupt `virq` arrives; a VIRQ is bound at most once. */
  bindVirq(virq: number, vcpu: number): number
  /** A new port by which vCPUs of the caller wake `vcpu`. */
  bindIpi(vcpu: number): number
  /** Ends the own half; the other half is then unbound. */
  closePort(port: EventPort): number
  /** Makes the other end pending. */
  sendEvent(port: EventPort): number
  /** Clears the mask bit, and delivers what came meanwhile. */
  unmaskPort(port: EventPort): number
  /** Moves a port's events to another vCPU of the caller. */
  bindVcpu(port: EventPort, vcpu: number): number
  /** Frames of the caller's grant table, grown to `frames`; or a negative error number. */
  setupGrantTable(frames: number): readonly Mfn[] | number
  /** Maps a frame that another domain has granted, until `unmapGrant`; `status` is a GNTST number. */
  mapGrant(mapping: { readonly domain: DomId; readonly ref: GrantRef; readonly readOnly?: boolean }): {
    readonly status: number; readonly handle: GrantHandle; readonly frame: Mfn
  }
  /** Ends a mapping; a GNTST number. */
  unmapGrant(handle: GrantHandle): number
  /** Copies between frames; a GNTST number for each copy. */
  copyGrants(copies: readonly PortCopy[]): readonly number[]
  /** Gives frames back in order and stops at the first that cannot go; how many went. */
  decreaseReservation(frames: readonly Mfn[]): number
  /** Asks for `count` more frames; as many as the host and the limit allow. */
  increaseReservation(count: number): readonly Mfn[]
  /** Pages owned now. */
  currentReservation(): number
  /** Pages that may be owned at most. */
  maximumReservation(): number
  /** Raises VIRQ_TIMER on vCPU 0 at `deadline` (host nanoseconds); 0 cancels. */
  setTimer(deadline: number): number
  /** Ends the domain for a SHUTDOWN reason. */
  shutdown(reason: number): number
  /** Writes to the hypervisor's console. */
  consoleWrite(text: Uint8Array): number
  /** XENVER_version: major in the upper, minor in the lower 16 bits. */
  version(): number
  /** Frame `frame` of `domain`, accessible until `unmapForeign`; -ESRCH, -EPERM or -EINVAL otherwise. */
  mapForeign(domain: DomId, frame: number): number
  /** Ends one `mapForeign`; -EINVAL when the frame is not mapped. */
  unmapForeign(domain: DomId, frame: number): number
}
