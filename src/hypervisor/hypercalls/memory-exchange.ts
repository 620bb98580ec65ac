/**
 * XENMEM_exchange: a domain gives frames back and gets others of a different extent size for them, in one step that
 * either happens or does not, chunk by chunk. Linux uses it to get frames that are contiguous.
 * Reference: xen/common/memory.c, memory_exchange.
 */
import { ERRNO, type GuestAbi, XenMemoryExchange, XenMemoryReservation } from '../../abi/index.ts'
import { TWO_32, type WideField, signedFromParts } from '../../util/index.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { CALL_AGAIN, WORK } from '../time/work-meter.ts'
import type { DomainMemory } from '../frames/domain-memory.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import { MAX_ORDER, MAX_PRIVILEGED_ORDER, type ReservationCallParts } from './memory-reservation.ts'

/** What an exchange works on. */
export interface ExchangeParts extends ReservationCallParts {
  readonly domainMemory: DomainMemory
  readonly machineToPhys: MachineToPhys
}

/** One side of an exchange, copied from the guest. */
interface Side {
  readonly list: number
  readonly count: number
  readonly order: number
  readonly domid: number
}

/** Carries out XENMEM_exchange. */
export class Exchange {
  private readonly parts: ExchangeParts
  private readonly layout: Pick<typeof XenMemoryExchange, 'size' | 'in' | 'out' | 'nrExchanged'>
  private readonly side: Pick<typeof XenMemoryReservation, 'extentStart' | 'nrExtents' | 'extentOrder' | 'domid'>
  /** One frame number of a list. */
  private readonly word: WideField
  /** Most pages that either side may name. */
  private readonly maxPages: number
  private readonly scratch = new Scratch(XenMemoryExchange.size)
  private readonly element: Scratch

  constructor(parts: ExchangeParts, abi: GuestAbi) {
    this.parts = parts
    this.layout = abi.of(XenMemoryExchange)
    this.side = abi.of(XenMemoryReservation)
    this.word = abi.word
    this.maxPages = Math.min(2 ** abi.width - 1, Number.MAX_SAFE_INTEGER)
    this.element = new Scratch(abi.word.size)
  }

  /** Exchanges what the structure at `address` names; it counts there what is done, and is then called again. */
  operate(caller: Vcpu, address: number): number {
    const { layout: { in: given, out: wanted, nrExchanged, size } } = this
    if (!readInto(caller.access, address, this.scratch, size)) return -ERRNO.EFAULT
    const into = this.readSide(given.at(0))
    const out = this.readSide(wanted.at(0))
    const done = nrExchanged.number(this.scratch.view, 0)
    const error = this.check(caller, into, out, done)
    if (error !== 0) return error
    const domain = this.parts.domains.resolve(caller.owner, into.domid)
    if (domain === undefined) return -ERRNO.ESRCH
    if (!this.parts.domains.mayControl(caller.domid, domain.id, 'memory_op.exchange')) return -ERRNO.EPERM
    const progress = this.exchange(caller, domain, { into, out, done })
    nrExchanged.setNumber(this.scratch.view, 0, progress.done)
    const at = nrExchanged.offset
    const stored = caller.access.write(address + at, this.scratch.bytes.subarray(at, at + nrExchanged.size))
    this.parts.reservation.changed(domain)
    return stored ? progress.result : -ERRNO.EFAULT
  }

  private readSide(at: number): Side {
    const { side: { extentStart, nrExtents, extentOrder, domid }, scratch: { view } } = this
    return {
      list: signedFromParts(extentStart.low(view, at), extentStart.high(view, at)), count: nrExtents.number(view, at),
      order: extentOrder.get(view, at), domid: domid.get(view, at),
    }
  }

  private check(caller: Vcpu, into: Side, out: Side, done: number): number {
    const limit = caller.owner.privileged ? MAX_PRIVILEGED_ORDER : MAX_ORDER
    if (into.order > limit || out.order > limit) return -ERRNO.EPERM
    const pages = into.count * 2 ** into.order
    const isSound = into.domid === out.domid && pages === out.count * 2 ** out.order && pages <= this.maxPages
      && done <= into.count
    return isSound ? 0 : -ERRNO.EINVAL
  }

  /** Chunk by chunk of the larger extent, until all is done, something fails, or the host is to have a turn. */
  private exchange(
    caller: Vcpu,
    domain: Domain,
    job: { readonly into: Side; readonly out: Side; readonly done: number },
  ): { readonly done: number; readonly result: number } {
    const { into, out } = job
    const order = Math.max(into.order, out.order)
    const inPerChunk = 2 ** (order - into.order)
    const outPerChunk = 2 ** (order - out.order)
    if (job.done % inPerChunk !== 0) return { done: job.done, result: -ERRNO.EINVAL }
    let done = job.done
    for (; done + inPerChunk <= into.count; done += inPerChunk) {
      if (this.parts.meter.isSpent) return { done, result: CALL_AGAIN }
      const outFirst = (done / inPerChunk) * outPerChunk
      const result = this.chunk(caller, domain, { into, out, inFirst: done, inPerChunk, outFirst, outPerChunk })
      this.parts.meter.charge((inPerChunk + outPerChunk) * WORK.element + 2 ** order * (2 * WORK.frame + WORK.page))
      if (result !== 0) return { done, result }
    }
    return { done, result: 0 }
  }

  private chunk(
    caller: Vcpu,
    domain: Domain,
    job: {
      readonly into: Side; readonly out: Side; readonly inFirst: number; readonly inPerChunk: number
      readonly outFirst: number; readonly outPerChunk: number
    },
  ): number {
    const { out } = job
    const { domainMemory } = this.parts
    const names: number[] = []
    for (let i = 0; i < job.outPerChunk; i += 1) {
      const pfn = this.readWord(caller, out.list + (job.outFirst + i) * this.word.size)
      if (pfn < 0) return -ERRNO.EFAULT
      names.push(pfn)
    }
    const stolen = this.steal(caller, domain, job)
    if (typeof stolen === 'number') return stolen
    const fresh: number[] = []
    for (let i = 0; i < job.outPerChunk; i += 1) {
      const first = domainMemory.allocateRun(domain, out.order)
      if (first < 0) {
        this.undo(domain, stolen, { fresh, order: out.order })
        return -ERRNO.ENOMEM
      }
      fresh.push(first)
    }
    for (const mfn of stolen) domainMemory.discard(mfn)
    return this.hand(caller, { fresh, names, job })
  }

  /** Takes the frames of a chunk away from the domain; all or none. */
  private steal(
    caller: Vcpu,
    domain: Domain,
    job: { readonly into: Side; readonly inFirst: number; readonly inPerChunk: number },
  ): number[] | number {
    const stolen: number[] = []
    const fail = (error: number): number => {
      for (const mfn of stolen) this.parts.domainMemory.adopt(mfn, domain)
      return error
    }
    for (let i = 0; i < job.inPerChunk; i += 1) {
      const first = this.readWord(caller, job.into.list + (job.inFirst + i) * this.word.size)
      if (first < 0) return fail(-ERRNO.EFAULT)
      for (let mfn = first; mfn < first + 2 ** job.into.order; mfn += 1) {
        if (!this.parts.domainMemory.steal(mfn, domain)) return fail(-ERRNO.EINVAL)
        stolen.push(mfn)
      }
    }
    return stolen
  }

  private undo(
    domain: Domain,
    stolen: readonly number[],
    taken: { readonly fresh: readonly number[]; readonly order: number },
  ): void {
    const { domainMemory } = this.parts
    for (const first of taken.fresh) {
      for (let mfn = first; mfn < first + 2 ** taken.order; mfn += 1) domainMemory.giveBack(mfn)
    }
    for (const mfn of stolen) domainMemory.adopt(mfn, domain)
  }

  /** Names the new frames and tells the guest of them. */
  private hand(
    caller: Vcpu,
    made: {
      readonly fresh: readonly number[]; readonly names: readonly number[]
      readonly job: { readonly out: Side; readonly outFirst: number }
    },
  ): number {
    const { out, outFirst } = made.job
    for (const [i, first] of made.fresh.entries()) {
      const pfn = made.names[i]!
      for (let page = 0; page < 2 ** out.order; page += 1) {
        const name = pfn + page
        this.parts.machineToPhys.setParts(first + page, name >>> 0, Math.floor(name / TWO_32) >>> 0)
      }
      this.word.setNumber(this.element.view, 0, first)
      if (!caller.access.write(out.list + (outFirst + i) * this.word.size, this.element.bytes)) return -ERRNO.EFAULT
    }
    return 0
  }

  private readWord(caller: Vcpu, address: number): number {
    return readInto(caller.access, address, this.element, this.word.size) ? this.word.number(this.element.view, 0) : -1
  }
}
