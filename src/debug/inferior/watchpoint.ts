/** Bytes of a guest that a debugger watches. */

/** What stops a guest where it accesses memory. */
export type WatchKind = 'write' | 'read' | 'access'

/** Bytes that are watched. */
export interface Watchpoint {
  readonly kind: WatchKind
  readonly address: bigint
  readonly length: number
}

/** Whether bytes overlap. */
export const overlaps = (watch: Watchpoint, address: bigint, size: number): boolean => address < watch.address + BigInt(watch.length) && watch.address < address + BigInt(size)
