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
    markWritten(mfn: number): void
  }
  now(): number
  allocUnbound(domain: DomId, remote: DomId): number
  bindInterdomain(remote: DomId, remotePort: EventPort): number
  bindVirq(virq: number, vcpu: number): number
  bindIpi(vcpu: number): number
  closePort(port: EventPort): number
  sendEvent(port: EventPort): number
  unmaskPort(port: EventPort): number
  bindVcpu(port: EventPort, vcpu: number): number
  setupGrantTable(frames: number): readonly Mfn[] | number
  mapGrant(mapping: { readonly domain: DomId; readonly ref: GrantRef; readonly readOnly?: boolean }): {
    readonly status: number; readonly handle: GrantHandle; readonly frame: Mfn
  }
  unmapGrant(handle: GrantHandle): number
  copyGrants(copies: readonly PortCopy[]): readonly number[]
  decreaseReservation(frames: readonly Mfn[]): number
  increaseReservation(count: number): readonly Mfn[]
  currentReservation(): number
  maximumReservation(): number
  setTimer(deadline: number): number
  shutdown(reason: number): number
  consoleWrite(text: Uint8Array): number
  version(): number
  mapForeign(domain: DomId, frame: number): number
  unmapForeign(domain: DomId, frame: number): number
}
