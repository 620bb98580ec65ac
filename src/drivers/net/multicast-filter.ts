/**
 * The groups that a guest listens to, where it has asked to get no others: what it says with its transmit ring, and what its back-end keeps from it.
 * Reference: public/io/netif.h, feature-multicast-control; the limit is that of Linux's netback.
 */
import { shape, type StateOf } from '../../util/index.ts'
import { addressAt, isGroupAddress } from './frame.ts'

/** Addresses that a guest can join. */
export const MOST_GROUPS = 64
const BROADCAST = 2 ** 48 - 1

/** Whether the filter acts, and its addresses as numbers. */
export const multicastFilterState = /* @__PURE__ */ shape.record({
  isOn: shape.flag, groups: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.whole(0, BROADCAST), MOST_GROUPS),
})

/** The filter of one interface. */
export class MulticastFilter {
  /** The guest has asked for it; groups are noted all the same while it has not. */
  isOn = false
  private groups: number[] = []

  /** Notes a group; false when there are too many. One that is joined twice has to be left twice. */
  join(group: number): boolean {
    if (this.groups.length >= MOST_GROUPS) return false
    this.groups.push(group)
    return true
  }

  /** Forgets a group; one that is not known is no error. */
  leave(group: number): void {
    const place = this.groups.indexOf(group)
    if (place >= 0) this.groups.splice(place, 1)
  }

  /** True for a frame to a group that the guest does not listen to. Broadcasts are for everybody. */
  keepsOut(bytes: Uint8Array): boolean {
    if (!this.isOn || !isGroupAddress(bytes, 0)) return false
    const group = addressAt(bytes, 0)
    return group !== BROADCAST && !this.groups.includes(group)
  }

  /** What it is, for a save of its back-end. */
  save(): StateOf<typeof multicastFilterState> {
    return { isOn: this.isOn, groups: [...this.groups] }
  }

  /** Goes on where the saved one was. */
  load({ isOn, groups }: StateOf<typeof multicastFilterState>): void {
    this.isOn = isOn
    this.groups = [...groups]
  }
}
