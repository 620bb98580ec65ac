/** What domains are shown as the time, where that is not the host's. */
export interface GuestTime {
  /** What a domain is shown at a host time; it never goes back. */
  shown(domid: number, now: number): number
  /** The host time at which a domain is shown a time. */
  hostTime(domid: number, shown: number): number
  /** How many nanoseconds it is shown for each of the host's, from a host time on; 1 is the usual rate. */
  rate(domid: number, now: number): number
}
