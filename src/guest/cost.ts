/**
 * What a guest in TypeScript costs in virtual time. Its real instructions cannot be counted, so each thing it does has
 * a fixed price in instructions, of the order that a small kernel written in C would pay. Runs stay repeatable: the
 * price depends on what was done, never on how long JavaScript took.
 */
import type { GrantCopy, GrantMapping, HypercallPort, MappedGrant } from '../abi/index.ts'
import type { DomId, EventPort, GrantHandle, Mfn } from '../util/index.ts'

/** Prices in instructions. */
export const COST = /* @__PURE__ */ Object.freeze({
  /** Entering the guest by the upcall and leaving it again. */
  upcall: 200,
  /** One handler: an event, a timer, a posted task. */
  handler: 500,
  /** One hypercall, entry and exit; the batch forms pay `item` for each element. */
  hypercall: 150,
  /** One element of a batch hypercall. */
  item: 50,
  /** Starting the guest's program. */
  boot: 10_000,
} as const)

/** Takes the price of something that was done. */
export type Charge = (instructions: number) => void

/** The same port, with each hypercall's price charged. Reading the clock is free, as it is no hypercall for a guest. */
export class MeteredPort implements HypercallPort {
  readonly domid: DomId
  readonly memory: HypercallPort['memory']
  private port: HypercallPort
  private readonly bill: Charge

  constructor(port: HypercallPort, charge: Charge) {
    this.domid = port.domid
    this.memory = port.memory
    this.port = port
    this.bill = charge
  }

  /** From now on every call throws `why`: the domain goes on as another. */
  retire(why: unknown): void {
    const refuse = (): never => { throw why }
    // Whatever is called of it, the time too.
    this.port = new Proxy({} as HypercallPort, { get: () => refuse })
  }

  /** Charges a call, with so many items, and gives the port that it goes to. */
  private pay(items = 0): HypercallPort {
    this.bill(COST.hypercall + COST.item * items)
    return this.port
  }

  now(): number {
    return this.port.now()
  }

  allocUnbound(domid: DomId, remote: DomId): number {
    return this.pay().allocUnbound(domid, remote)
  }

  bindInterdomain(remote: DomId, port: EventPort): number {
    return this.pay().bindInterdomain(remote, port)
  }

  bindVirq(virq: number, vcpu: number): number {
    return this.pay().bindVirq(virq, vcpu)
  }

  bindIpi(vcpu: number): number {
    return this.pay().bindIpi(vcpu)
  }

  closePort(port: EventPort): number {
    return this.pay().closePort(port)
  }

  sendEvent(port: EventPort): number {
    return this.pay().sendEvent(port)
  }

  unmaskPort(port: EventPort): number {
    return this.pay().unmaskPort(port)
  }

  bindVcpu(port: EventPort, vcpu: number): number {
    return this.pay().bindVcpu(port, vcpu)
  }

  initControl(vcpu: number, frame: Mfn, offset: number): number {
    return this.pay().initControl(vcpu, frame, offset)
  }

  expandArray(frame: Mfn): number {
    return this.pay().expandArray(frame)
  }

  setupGrantTable(frames: number): readonly Mfn[] | number {
    return this.pay().setupGrantTable(frames)
  }

  mapGrant(mapping: GrantMapping): MappedGrant {
    return this.pay().mapGrant(mapping)
  }

  unmapGrant(handle: GrantHandle): number {
    return this.pay().unmapGrant(handle)
  }

  copyGrants(copies: readonly GrantCopy[]): readonly number[] {
    return this.pay(copies.length).copyGrants(copies)
  }

  decreaseReservation(frames: readonly Mfn[]): number {
    return this.pay(frames.length).decreaseReservation(frames)
  }

  increaseReservation(count: number): readonly Mfn[] {
    const frames = this.pay().increaseReservation(count)
    // What is asked for may be any number; what is got is paid for.
    this.bill(COST.item * frames.length)
    return frames
  }

  currentReservation(): number {
    return this.pay().currentReservation()
  }

  maximumReservation(): number {
    return this.pay().maximumReservation()
  }

  setTimer(deadline: number): number {
    return this.pay().setTimer(deadline)
  }

  watchdog(id: number, seconds: number): number {
    return this.pay().watchdog(id, seconds)
  }

  shutdown(reason: number): number {
    return this.pay().shutdown(reason)
  }

  consoleWrite(text: Uint8Array): number {
    return this.pay().consoleWrite(text)
  }

  version(): number {
    return this.pay().version()
  }

  mapForeign(domid: DomId, frame: number): number {
    return this.pay().mapForeign(domid, frame)
  }

  unmapForeign(domid: DomId, frame: number): number {
    return this.pay().unmapForeign(domid, frame)
  }
}
