/**
 * Growing and shrinking a domain's reservation: populate_physmap, increase_reservation, decrease_reservation. Each
 * answers with the number of extents that were done; the guest looks at that, not at error numbers.
 * Reference: xen/common/memory.c, populate_physmap, increase_reservation, decrease_reservation.
 */
import { ERRNO, type GuestAbi, XENMEM, XenMemoryReservation } from '../../abi/index.ts'
import { type WideField, signedFromParts } from '../../util/index.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { Reservation } from '../control/core/reservation.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'
import type { HypercallArguments } from '../domains/hypercall.ts'
import type { DomainRegistry } from '../domains/registry.ts'

/** Largest extent that a guest may ask for, as a power of two of pages. */
export const MAX_ORDER = 9
/** Largest extent of a privileged domain. */
export const MAX_PRIVILEGED_ORDER = 12
/** Where the command counts the extents that are done. */
const EXTENT_SHIFT = 64

/** What changes of a reservation work on. */
export interface ReservationCallParts {
  readonly reservation: Reservation
  readonly domains: DomainRegistry
  readonly meter: WorkMeter
}

/** The three operations, by their numbers. */
export type ReservationCommand =
  typeof XENMEM.increase_reservation | typeof XENMEM.decrease_reservation | typeof XENMEM.populate_physmap

const NAMES: Readonly<Record<ReservationCommand, keyof typeof XENMEM>> = {
  [XENMEM.increase_reservation]: 'increase_reservation', [XENMEM.decrease_reservation]: 'decrease_reservation',
  [XENMEM.populate_physmap]: 'populate_physmap',
}

/** One reservation call, copied from the guest. */
interface ReservationCall {
  readonly domain: Domain
  readonly list: number
  readonly count: number
  readonly order: number
}

/** Carries out reservation calls. */
export class Reservations {
  private readonly parts: ReservationCallParts
  private readonly layout: Pick<typeof XenMemoryReservation, 'size' | keyof typeof XenMemoryReservation.fields>
  /** One frame number of a list. */
  private readonly word: WideField
  /** More extents than that could not be counted beside the command. */
  private readonly maxExtents: number
  private readonly scratch = new Scratch(XenMemoryReservation.size)

  constructor(parts: ReservationCallParts, abi: GuestAbi) {
    this.parts = parts
    this.layout = abi.of(XenMemoryReservation)
    this.word = abi.word
    this.maxExtents = Math.floor(2 ** abi.width / EXTENT_SHIFT) - 1
  }

  /** One of the three operations. */
  operate(caller: Vcpu, command: ReservationCommand, args: HypercallArguments): number {
    const start = Math.floor(args.number(0) / EXTENT_SHIFT)
    if (!readInto(caller.access, args.address(1), this.scratch, this.layout.size)) {
      return start === 0 ? -ERRNO.EFAULT : start
    }
    const reservation = this.read(caller, command)
    if (reservation === undefined || start >= reservation.count) return start
    const { meter } = this.parts
    const price = command === XENMEM.decrease_reservation ? WORK.frame : WORK.frame + WORK.page
    let index = start
    let isStuck = false
    while (index < reservation.count && !isStuck && !meter.isSpent) {
      if (this.one(caller, command, reservation, index)) index += 1
      else isStuck = true
      meter.charge(WORK.element + price * 2 ** reservation.order)
    }
    if (index > start) this.parts.reservation.changed(reservation.domain)
    if (isStuck || index === reservation.count) return index
    args.set(0, command + index * EXTENT_SHIFT)
    return CALL_AGAIN
  }

  private read(caller: Vcpu, command: ReservationCommand): ReservationCall | undefined {
    const { layout, scratch: { view } } = this
    const order = layout.extentOrder.get(view, 0)
    const count = layout.nrExtents.number(view, 0)
    const domain = this.parts.domains.resolve(caller.owner, layout.domid.get(view, 0))
    const limit = caller.owner.privileged ? MAX_PRIVILEGED_ORDER : MAX_ORDER
    if (domain === undefined || order > limit || count > this.maxExtents) return undefined
    if (!this.parts.domains.mayControl(caller.domid, domain.id, `memory_op.${NAMES[command]}`)) return undefined
    const { extentStart } = layout
    return { domain, list: signedFromParts(extentStart.low(view, 0), extentStart.high(view, 0)), count, order }
  }

  private one(caller: Vcpu, command: ReservationCommand, reservation: ReservationCall, index: number): boolean {
    if (command === XENMEM.decrease_reservation) return this.decrease(caller, reservation, index)
    const { word, scratch: { view, bytes } } = this
    const place = reservation.list + index * word.size
    const populate = command === XENMEM.populate_physmap
    if (populate && !readInto(caller.access, place, this.scratch, word.size)) return false
    const pfn = populate ? word.number(view, 0) : -1
    const first = this.parts.reservation.increase(reservation.domain, reservation.order, pfn)
    if (first < 0) return false
    // A translated guest has named the place, and is told of no frame of the host's.
    if (reservation.list === 0 || reservation.domain.guest !== undefined) return true
    word.setNumber(view, 0, first)
    // On a fault the frames stay with the domain, as they do in Xen, but are not counted.
    return caller.access.write(place, bytes.subarray(0, word.size))
  }

  private decrease(caller: Vcpu, reservation: ReservationCall, index: number): boolean {
    const { word, scratch } = this
    if (!readInto(caller.access, reservation.list + index * word.size, scratch, word.size)) return false
    const first = word.high(scratch.view, 0) === 0 ? word.low(scratch.view, 0) : -1
    return this.parts.reservation.decrease(reservation.domain, first, reservation.order) === 0
  }
}
