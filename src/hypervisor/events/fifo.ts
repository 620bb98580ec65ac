/**
 * The FIFO ABI: one 32-bit event word for each port in pages of the guest's, linked into 16 queues for each vCPU
 * whose heads lie in the vCPU's control block.
 *
 *   event word   31 PENDING | 30 MASKED | 29 LINKED | 28 BUSY | 16..0 LINK (next port of the queue, 0 ends it)
 *   control block   ready (a bit for each priority) | reserved | head[16]
 *
 * The guest consumes queues on its own: it may clear PENDING, MASKED, LINKED and LINK at any time, and it may write
 * garbage. So nothing that the guest can write is ever used as an index here: queue tails are ours, and LINK is only
 * written.
 *
 * Reference: xen/common/event_fifo.c; Xen's design document on FIFO-based event channels.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { ERRNO, EvtchnFifoControlBlock } from '../../abi/index.ts'
import { type StateOf, type Stateful, shape, sameState } from '../../util/index.ts'
import { DEFAULT_PRIORITY } from './port-table.ts'
import type { Channel, EventDelivery, EventDomain, EventHost, UpcallTarget } from './types.ts'

/** Bits of a port number in an event word. */
export const FIFO_LINK_BITS = 17
const PORTS = 1 << FIFO_LINK_BITS
const LINK_MASK = PORTS - 1
const PENDING = 1 << 31
const MASKED = 1 << 30
const LINKED = 1 << 29
const BUSY = 1 << 28

const WORDS_PER_PAGE = PAGE_SIZE / 4
const MAX_PAGES = PORTS / WORDS_PER_PAGE
const PRIORITIES = 16
/** Bytes of a control block: ready, reserved, one head for each priority. */
const CONTROL_BLOCK_SIZE = 8 + PRIORITIES * 4

/** Our side of one vCPU's queues. */
interface VcpuQueues {
  /** Byte address of the control block, or -1 while the vCPU has none. */
  controlBlock: number
  /** Last port of each queue, 0 when it is empty. */
  readonly tails: number[]
}

/** What a domain's saved FIFO state looks like. */
export const fifoShape = /* @__PURE__ */ shape.record({
  /** Machine frames of the event array. */
  pages: /* @__PURE__ */ shape.list(shape.word, MAX_PAGES),
  vcpus: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    controlBlock: /* @__PURE__ */ shape.whole(-1, Number.MAX_SAFE_INTEGER),
    tails: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.whole(0, PORTS - 1), PRIORITIES, PRIORITIES),
  })),
})

/** A domain's FIFO state as plain data. */
export type FifoState = StateOf<typeof fifoShape>

/** Delivers through event words and queues. */
export class FifoDelivery implements EventDelivery, Stateful<FifoState> {
  readonly abi = 'fifo'
  readonly portCount = PORTS
  private readonly view: DataView
  private readonly host: EventHost
  private readonly domain: EventDomain
  private readonly upcall: UpcallTarget
  private readonly pages: number[] = []
  private readonly queues: VcpuQueues[]

  constructor(host: EventHost, domain: EventDomain, upcall: UpcallTarget) {
    this.host = host
    this.view = host.memory.view
    this.domain = domain
    this.upcall = upcall
    this.queues = Array.from({ length: domain.vcpuCount }, () => ({
      controlBlock: -1, tails: new Array<number>(PRIORITIES).fill(0),
    }))
  }

  /** Ports that have an event word now. */
  get wordCount(): number {
    return this.pages.length * WORDS_PER_PAGE
  }

  /** 0 when a control block may lie at this offset of its page, or a negative error number. */
  static checkOffset(offset: number): number {
    return offset > PAGE_SIZE - CONTROL_BLOCK_SIZE || (offset & 7) !== 0 ? -ERRNO.EINVAL : 0
  }

  /** Gives a vCPU its control block, for good. 0, or a negative error number. */
  mapControlBlock(vcpu: number, gfn: number, offset: number): number {
    const queues = this.queues[vcpu]!
    if (queues.controlBlock >= 0) return -ERRNO.EINVAL
    const mfn = this.host.getWritablePage(this.domain.id, gfn)
    if (mfn < 0) return -ERRNO.EINVAL
    queues.controlBlock = mfn * PAGE_SIZE + offset
    return 0
  }

  /** Adds a page of event words. 0, or a negative error number. */
  addPage(gfn: number): number {
    if (this.pages.length >= MAX_PAGES) return -ERRNO.ENOSPC
    const mfn = this.host.getWritablePage(this.domain.id, gfn)
    if (mfn < 0) return -ERRNO.EINVAL
    this.pages.push(mfn)
    return 0
  }

  /** Machine frames that it holds a writable reference on, once for each. */
  *frames(): IterableIterator<number> {
    yield* this.pages
    for (const { controlBlock } of this.queues) if (controlBlock >= 0) yield Math.floor(controlBlock / PAGE_SIZE)
  }

  /** Gives all pages back. */
  destroy(): void {
    for (const mfn of this.frames()) this.host.putWritablePage(this.domain.id, mfn)
    for (const queues of this.queues) queues.controlBlock = -1
    this.pages.length = 0
  }

  bound(channel: Channel): void {
    channel.priority = DEFAULT_PRIORITY
  }

  setPending(vcpu: number, channel: Channel): void {
    const at = this.wordOf(channel.port)
    if (at < 0) {
      channel.pending = true
      return
    }
    const { controlBlock } = this.queues[vcpu]!
    // A guest must not unmask before it has a control block, so an event without one is dropped, as Xen does.
    if (controlBlock < 0) return
    const word = this.read(at)
    this.write(at, word | PENDING)
    const priority = channel.priority
    if ((word & (MASKED | LINKED)) === 0 && this.link(vcpu, channel, at)) {
      const ready = this.read(controlBlock)
      this.write(controlBlock, ready | (1 << priority))
      if ((ready & (1 << priority)) === 0) this.upcall.markPending(vcpu)
    }
    if ((word & PENDING) === 0) this.upcall.wakePollers(channel.port)
  }

  clearPending(channel: Channel): void {
    const at = this.wordOf(channel.port)
    if (at >= 0) this.write(at, this.read(at) & ~PENDING)
  }

  unmask(channel: Channel): void {
    const at = this.wordOf(channel.port)
    if (at < 0) return
    const word = this.read(at) & ~MASKED
    this.write(at, word)
    if ((word & PENDING) !== 0) this.setPending(channel.vcpu, channel)
  }

  isPending(channel: Channel): boolean {
    const at = this.wordOf(channel.port)
    return at >= 0 && (this.read(at) & PENDING) !== 0
  }

  isMasked(channel: Channel): boolean {
    const at = this.wordOf(channel.port)
    return at < 0 || (this.read(at) & MASKED) !== 0
  }

  isBusy(channel: Channel): boolean {
    const at = this.wordOf(channel.port)
    return at >= 0 && (this.read(at) & LINKED) !== 0
  }

  setPriority(channel: Channel, priority: number): number {
    if (priority >= PRIORITIES) return -ERRNO.EINVAL
    channel.priority = priority
    return 0
  }

  /** Queues and pages as plain data. The references on the pages belong to the frame table's state. */
  save(): FifoState {
    return {
      pages: [...this.pages],
      vcpus: this.queues.map(({ controlBlock, tails }) => ({ controlBlock, tails: [...tails] })),
    }
  }

  isAsSaved({ pages, vcpus }: FifoState): boolean {
    return sameState(this.pages, pages) && vcpus.length === this.queues.length && this.queues.every(({ controlBlock, tails }, i) => {
      const saved = vcpus[i]!
      return controlBlock === saved.controlBlock && saved.tails.every((tail, priority) => tail === tails[priority])
    })
  }

  /** Goes on from saved state, whose numbers have been checked by {@link fifoStateProblem}. */
  load(state: FifoState): void {
    this.pages.splice(0, this.pages.length, ...state.pages)
    state.vcpus.forEach((saved, vcpu) => {
      const queues = this.queues[vcpu]!
      queues.controlBlock = saved.controlBlock
      saved.tails.forEach((tail, priority) => { queues.tails[priority] = tail })
    })
  }

  /** Puts a port at the end of its queue; true when the queue was empty, so that the guest must be told. */
  private link(vcpu: number, channel: Channel, at: number): boolean {
    const { port, priority } = channel
    this.write(at, this.read(at) | LINKED)
    // If the port was the tail of its last queue, that queue has been emptied: its tail must not be linked to again.
    const last = this.queues[channel.lastVcpu]!
    if (last.tails[channel.lastPriority] === port) last.tails[channel.lastPriority] = 0
    channel.lastVcpu = vcpu
    channel.lastPriority = priority

    const queues = this.queues[vcpu]!
    const tail = queues.tails[priority]!
    const linked = tail !== 0 && this.linkTail(tail, port)
    if (!linked) this.write(EvtchnFifoControlBlock.head.at(queues.controlBlock, priority), port)
    queues.tails[priority] = port
    return !linked
  }

  /** Makes the tail point at `port` if the guest has not unlinked it meanwhile. */
  private linkTail(tail: number, port: number): boolean {
    const at = this.wordOf(tail)
    const word = this.read(at)
    if ((word & LINKED) === 0) return false
    this.write(at, (word & ~(BUSY | LINK_MASK)) | port)
    return true
  }

  private wordOf(port: number): number {
    const page = this.pages[port >>> 10]
    return page === undefined ? -1 : page * PAGE_SIZE + (port & (WORDS_PER_PAGE - 1)) * 4
  }

  private read(at: number): number {
    return this.view.getInt32(at, true)
  }

  private write(at: number, value: number): void {
    this.view.setInt32(at, value, true)
    this.host.memory.markWritten(at >>> PAGE_SHIFT)
  }
}

/** Why saved FIFO state cannot be taken, or undefined when it can. */
export function fifoStateProblem(state: FifoState, vcpuCount: number, memorySize: number): string | undefined {
  const frames = Math.floor(memorySize / PAGE_SIZE)
  if (state.pages.some((mfn) => mfn >= frames)) return 'event array pages lie outside of memory'
  if (state.vcpus.length !== vcpuCount) return `it has queues of ${state.vcpus.length} vCPUs`
  const words = state.pages.length * WORDS_PER_PAGE
  for (const { controlBlock, tails } of state.vcpus) {
    const fits = controlBlock < memorySize && FifoDelivery.checkOffset(controlBlock % PAGE_SIZE) === 0
    if (controlBlock !== -1 && !fits) return 'a control block lies where none may'
    if (tails.some((tail) => tail !== 0 && tail >= words)) return 'a queue ends beyond the event array'
  }
  return undefined
}
