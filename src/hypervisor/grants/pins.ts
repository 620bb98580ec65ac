/** Uses of a grant: four counters of eight bits in one number, and the record that holds them. Reference: xen/common/grant_table.c (GNTPIN_*). */
import { GNTMAP } from '../../abi/index.ts'

/** One use of each kind in an active entry's `pin`. */
export const PIN = { hostWrite: 1, hostRead: 0x100, deviceWrite: 0x1_0000, deviceRead: 0x100_0000 } as const
const WRITE_PINS = 0x00ff_00ff

/** An entry in use. */
export interface ActiveEntry {
  /** Uses of each kind, see {@link PIN}. */
  pin: number
  /** Domain that it is granted to. */
  domid: number
  mfn: number
  /** Sub-page grants: first byte and length. */
  start: number
  length: number
  isSubPage: boolean
  /** Transitive grants: the domain and the entry behind it. Otherwise this domain and this entry. */
  transDomain: number
  transRef: number
}

/** True when one more use would overflow its counter's lower seven bits. */
export const wouldOverflow = (pin: number, increment: number): boolean => (pin & (increment << 7)) !== 0

/** True while somebody may write through the entry. */
export const isWritePinned = (pin: number): boolean => (pin & WRITE_PINS) !== 0

/** Uses that a mapping with these flags adds to the entry's record. */
export function pinsFor(flags: number): number {
  const readOnly = (flags & GNTMAP.readonly) !== 0
  const host = readOnly ? PIN.hostRead : PIN.hostWrite
  const device = readOnly ? PIN.deviceRead : PIN.deviceWrite
  return ((flags & GNTMAP.host_map) !== 0 ? host : 0) + ((flags & GNTMAP.device_map) !== 0 ? device : 0)
}
