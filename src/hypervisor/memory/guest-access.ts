/**
 * Reading and writing what a hypercall's arguments point to. A binary guest passes virtual addresses of its current
 * page tables; a guest in TypeScript passes host addresses within frames that it owns. Everything is copied once,
 * then checked, then used; an address that does not hold yields false, and the hypercall -EFAULT.
 */

import type { OwnBytes } from '../../util/index.ts'

/** Access to one caller's memory. Addresses are signed numbers. */
export interface GuestAccess {
  /** Copies guest bytes into `target`; false when any of them cannot be read. */
  read(address: number, target: Uint8Array): boolean
  /** Copies bytes into guest memory; false when any of them cannot be written (the ones before are). */
  write(address: number, source: Uint8Array): boolean
  /** True for an address that the guest may name at all, whether or not anything is there. */
  mayName(address: number): boolean
  /** Host byte address of guest memory that does not cross a page, or -1. `write` asks for a writable page. */
  locate(address: number, write: boolean): number
}

/** A scratch buffer with its view: the caller's side of {@link GuestAccess}. */
export class Scratch {
  readonly bytes: OwnBytes
  readonly view: DataView

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.view = new DataView(this.bytes.buffer)
  }
}

/** Copies a structure of `size` bytes into the scratch's start; false on a fault. */
export function readInto(access: GuestAccess, address: number, scratch: Scratch, size: number): boolean {
  const { bytes } = scratch
  return access.read(address, size === bytes.length ? bytes : bytes.subarray(0, size))
}
