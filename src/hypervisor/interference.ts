/**
 * What may come between guests and their hypervisor, so that tests see what they do when something fails. Where a hypervisor is made
 * without it nothing of it is there: the parts that ask are other ones (`interfered/`), put in place when it is made.
 */

/** A hypercall that is about to be made, by a binary guest or through a typed door. */
export interface HypercallFacts {
  readonly domid: number
  readonly vcpu: number
  /** As in public/xen.h. */
  readonly number: number
  /** The operation of a family, its first argument. */
  readonly sub: number
}

/** An event that is about to be raised. */
export interface EventFacts {
  /** Who is told, and at which port; -1 where the port is not known, as for a VIRQ. */
  readonly domid: number
  readonly port: number
  /** Who sends it, and by which port of its own; -1 for the hypervisor. */
  readonly from: number
  readonly fromPort: number
  /** The VIRQ; -1 for an event that is none. */
  readonly virq: number
}

/** A grant that is about to be used. */
export interface GrantFacts {
  readonly action: 'map' | 'copy'
  /** Who uses it, and of whom. */
  readonly domid: number
  readonly remote: number
  readonly ref: number
}

/** What whoever interferes may ask of the hypervisor. */
export interface InterferenceSeat {
  /** Host time in nanoseconds. */
  now(): number
  /** Does something at a host time, between two slices of guests. */
  at(time: number, act: () => void): void
  /** Keeps a vCPU from running until the returned function is called; undefined where there is none. */
  pauseVcpu(domid: number, vcpu: number): (() => void) | undefined
  /** What a domain is shown as the time has changed: writes its time records anew, and sets the timers that it has set to other host times. */
  renewTime(domid: number, moved: (deadline: number) => number): void
  /** The frame that a domain's grant names, by the host's number; undefined where there is no such grant. */
  grantedFrame(domid: number, ref: number): number | undefined
  /** The instruction pointer of a binary guest's vCPU and the words on its stack, as signed addresses; none for others. */
  addresses(domid: number, vcpu: number): readonly number[]
}

/** What comes between; what is absent interferes with nothing. */
export interface HypervisorInterference {
  /** False while nothing is to be interfered with: then nobody asks. Absent: everybody asks. */
  readonly asks?: boolean
  /** Tells at once, and whenever it changes, whether anybody is to ask: for who is asked so often that asking costs. */
  follow?(listener: (asks: boolean) => void): void
  /** The hypervisor was made, or made again from what was saved: everything that was begun before is over. */
  begin?(seat: InterferenceSeat): void
  /** A number is the hypercall's result, and the call is not made. */
  hypercall?(call: HypercallFacts): number | undefined
  /** Raises the event by calling `raise`: at once, later, more than once, or not at all. */
  event?(event: EventFacts, raise: () => void): void
  /** A GNTST status in place of what is asked for. */
  grant?(use: GrantFacts): number | undefined
  /** True refuses these frames, as where the host has none. */
  allocation?(domid: number, frames: number): boolean
  /** What a domain is shown as the time at a host time; it never goes back. */
  guestTime?(domid: number, now: number): number
  /** The host time at which a domain is shown a time. */
  hostTime?(domid: number, shown: number): number
  /** How many nanoseconds a domain is shown for each of the host's, from a host time on. Where it changes time is to be renewed. */
  guestRate?(domid: number, now: number): number
}
