/**
 * The public interface as typed calls: the only door of a guest written in TypeScript, back-ends and dom0 included. It
 * leads to the same functions that decode a binary guest's hypercalls: the same checks, the same errors. Types only, so
 * that guest and hypervisor know the same door and neither knows the other.
 *
 * Results are those of the ABI: zero or a positive value on success, a negative error number (`-ERRNO.EINVAL`) on failure.
 */
import type { DomId, EventPort, GrantHandle, GrantRef, Mfn } from '../util/index.ts'

/** One grant to map. Reference: public/grant_table.h, struct gnttab_map_grant_ref. */
export interface GrantMapping {
  readonly domid: DomId
  readonly ref: GrantRef
  readonly readOnly?: boolean
}

/** What a mapping yields: GNTST status (0 is okay), handle and the frame that is now accessible. */
export interface MappedGrant {
  readonly status: number
  readonly handle: GrantHandle
  readonly frame: Mfn
}

/** One side of a grant copy: an own frame, or a grant of another domain. */
export type GrantCopySide =
  | { readonly frame: Mfn; readonly offset: number }
  | { readonly domid: DomId; readonly ref: GrantRef; readonly offset: number }

/** One copy between frames. Reference: public/grant_table.h, struct gnttab_copy. */
export interface GrantCopy {
  readonly source: GrantCopySide
  readonly destination: GrantCopySide
  /** Bytes, at most a page and within it on both sides. */
  readonly length: number
}

/** Everything a TypeScript guest can ask of the hypervisor. */
export interface HypercallPort {
  /** The caller's own identifier. A binary guest has no such call; it reads `domid` from XenStore. */
  readonly domid: DomId
  /** All host memory. A guest touches its own frames, mapped grants and foreign frames only; the kit sees to that. */
  readonly memory: {
    readonly view: DataView
    readonly bytes: Uint8Array
    readonly words: Uint32Array
    /** Tells of bytes written by TypeScript: drops instructions decoded from the frame and feeds the dirty log. */
    markWritten(mfn: number): void
  }
  /** Host time in nanoseconds, as the guest computes it from its time record. */
  now(): number

  // Event channels. Reference: public/event_channel.h
  /** A new port of `domain` (DOMID.SELF is the caller) that `remote` may bind to. */
  allocUnbound(domid: DomId, remote: DomId): number
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
  /** Gives a vCPU its control block of the FIFO ABI, in a frame of the caller's: from the first on events come by queues. 0, or negative. */
  initControl(vcpu: number, frame: Mfn, offset: number): number
  /** Adds a frame of the caller's to the event words of the FIFO ABI. 0, or a negative error number. */
  expandArray(frame: Mfn): number

  // Grant tables. Reference: public/grant_table.h
  /** Frames of the caller's grant table, grown to `frames`; or a negative error number. */
  setupGrantTable(frames: number): readonly Mfn[] | number
  /** Maps a frame that another domain has granted, until `unmapGrant`. */
  mapGrant(mapping: GrantMapping): MappedGrant
  /** GNTST status. */
  unmapGrant(handle: GrantHandle): number
  /** GNTST status of each copy. */
  copyGrants(copies: readonly GrantCopy[]): readonly number[]

  // Memory. Reference: public/memory.h
  /** Gives the frames back; how many were, or a negative error number. */
  decreaseReservation(frames: readonly Mfn[]): number
  /** Asks for `count` more frames and names them by pseudo-physical number; as many as could be had. */
  increaseReservation(count: number): readonly Mfn[]
  /** Pages owned now. */
  currentReservation(): number
  /** Pages that may be owned at most. */
  maximumReservation(): number

  // Scheduling. Reference: public/sched.h, public/vcpu.h
  /** Wakes the guest at `deadline` (host nanoseconds); 0 cancels. */
  setTimer(deadline: number): number
  /**
   * SCHEDOP_watchdog: the domain ends for that reason when it does not call again in so many seconds. `id` 0 takes one of two and answers
   * with its number; 0 seconds give it back.
   */
  watchdog(id: number, seconds: number): number
  /** Ends the domain, SHUTDOWN reason given. */
  shutdown(reason: number): number
  /** Writes to the hypervisor's console. Reference: CONSOLEIO_write. */
  consoleWrite(text: Uint8Array): number
  /** XENVER_version: major in the upper, minor in the lower 16 bits. */
  version(): number

  // Privileged: dom0, or a domain that has been given power over the other.
  /** The machine's frame that domain `domain` names `frame`, accessible until `unmapForeign`; or a negative error number. */
  mapForeign(domid: DomId, frame: number): number
  /** Ends one `mapForeign`; `frame` is the one that it gave. */
  unmapForeign(domid: DomId, frame: number): number
}
