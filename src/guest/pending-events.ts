/**
 * The guest's half of the event channels' ABI, the 2-level one until it has more than 4096 ports (fifo-events.ts is the other): finding out which ports are pending, in the guest's own
 * shared_info page, as the upcall of a binary guest does.
 *
 *   vcpu_info.evtchn_upcall_pending   one byte: look at all
 *   vcpu_info.evtchn_pending_sel      64 bits: which of the 64 words below to look at
 *   evtchn_pending[64], evtchn_mask[64]   64 ports in each word
 *
 * hot path: works on 32-bit words of host memory; each step takes one port.
 * Reference: public/xen.h, struct shared_info; public/event_channel.h.
 */
import { EVTCHN_2L_NR_CHANNELS, PAGE_SIZE, SharedInfo, VcpuInfo, type HypercallPort } from '../abi/index.ts'
import { shape, type Mfn, type StateOf } from '../util/index.ts'
import { FifoEvents, fifoEventsState } from './fifo-events.ts'

/** What is left of the selector word that was last taken, or of the queues. */
export const pendingState = /* @__PURE__ */ shape.record({
  low: shape.word, high: shape.word,
  /** Where events come by queues. */
  fifo: /* @__PURE__ */ shape.optional(fifoEventsState),
})

/** Saved progress through the pending ports. */
export type PendingState = StateOf<typeof pendingState>

/** What more ports are made of. */
export interface PortRoom {
  readonly calls: Pick<HypercallPort, 'initControl' | 'expandArray'>
  /** A page of the guest's, in use from now on. Throws OUT_OF_MEMORY. */
  allocate(): Mfn
  /** Whether a port is open, so that its events are wanted. */
  isOpen(port: number): boolean
}

/** Reads and clears pending ports. */
export class PendingEvents {
  private readonly bytes: Uint8Array
  private readonly words: Uint32Array
  private readonly upcallPending: number
  private readonly upcallMask: number
  private readonly selector: number
  private readonly pending: number
  private readonly mask: number
  /** What is left of the selector word that was last taken, low and high half. */
  private low = 0
  private high = 0
  /** Once the guest has gone over to the ABI with queues. */
  private fifo: FifoEvents | undefined

  /** `sharedInfo` is the guest's shared_info frame; the vCPU is number 0. */
  constructor(memory: { readonly bytes: Uint8Array; readonly words: Uint32Array }, sharedInfo: Mfn) {
    const base = sharedInfo * PAGE_SIZE
    const vcpu = SharedInfo.vcpuInfo.at(base, 0)
    this.bytes = memory.bytes
    this.words = memory.words
    this.upcallPending = vcpu + VcpuInfo.evtchnUpcallPending.offset
    this.upcallMask = vcpu + VcpuInfo.evtchnUpcallMask.offset
    this.selector = (vcpu + VcpuInfo.evtchnPendingSel.offset) >>> 2
    this.pending = SharedInfo.evtchnPending.at(base, 0) >>> 2
    this.mask = SharedInfo.evtchnMask.at(base, 0) >>> 2
  }

  /** Lets the hypervisor make upcalls, as a guest does at the end of its boot and of each upcall. */
  enableUpcalls(): void {
    this.bytes[this.upcallMask] = 0
  }

  /** True when a port may be pending. */
  waiting(): boolean {
    if (this.fifo !== undefined) return this.fifo.waiting || this.bytes[this.upcallPending] !== 0
    return (this.low | this.high) !== 0 || this.bytes[this.upcallPending] !== 0
  }

  /** Takes one pending, unmasked port; 0 when there is none. */
  take(): number {
    if (this.fifo !== undefined) return this.takeQueued(this.fifo)
    while (this.waiting()) {
      if ((this.low | this.high) === 0) this.takeSelector()
      const port = this.takeFromSelected()
      if (port !== 0) return port
    }
    return 0
  }

  /** Ports that are pending and unmasked, in the order in which they would be taken; of queues the next is known when it is taken. */
  ready(): readonly number[] {
    if (this.fifo !== undefined) return []
    const isTold = this.bytes[this.upcallPending] !== 0
    const selected = [this.low, this.high].map((half, i) => half | (isTold ? this.words[this.selector + i]! : 0))
    const ports: number[] = []
    for (let word = 0; word < 64; word += 1) {
      if ((selected[word >>> 5]! & (1 << (word & 31))) === 0) continue
      for (const index of [2 * word, 2 * word + 1]) {
        for (let active = this.words[this.pending + index]! & ~this.words[this.mask + index]!; active !== 0; active &= active - 1) {
          ports.push(index * 32 + (31 - Math.clz32(active & -active)))
        }
      }
    }
    return ports
  }

  /** Masks a port: it stays pending and is not taken. */
  setMask(port: number): void {
    if (this.fifo !== undefined) return this.fifo.setMask(port)
    this.words[this.mask + (port >>> 5)]! |= 1 << (port & 31)
  }

  /** Unmasks a port without looking whether it is pending; the hypercall does that. */
  clearMask(port: number): void {
    if (this.fifo !== undefined) return this.fifo.clearMask(port)
    this.words[this.mask + (port >>> 5)]! &= ~(1 << (port & 31))
  }

  /** Forgets that a port was pending, as is done before a port number is used anew. */
  clearPending(port: number): void {
    if (this.fifo !== undefined) return this.fifo.clearPending(port)
    this.words[this.pending + (port >>> 5)]! &= ~(1 << (port & 31))
  }

  /** What is pending, for a save of the kernel. */
  save(): PendingState {
    return { low: this.low >>> 0, high: this.high >>> 0, fifo: this.fifo?.save() }
  }

  /** Whether it is what a save of it said, so that nothing has to be brought back. */
  isAsSaved({ low, high }: PendingState): boolean {
    return low === this.low >>> 0 && high === this.high >>> 0
  }

  /** Takes over what was pending. */
  load({ low, high, fifo }: PendingState): void {
    this.low = low
    this.high = high
    this.fifo = fifo && new FifoEvents(this.words, fifo.control as Mfn)
    if (fifo !== undefined) this.fifo?.load(fifo)
  }

  // Many ports

  /**
   * Sees to it that a port has its bits. Above those of the 2-level ABI the guest goes over to queues, for good, in pages that it takes
   * by `allocate`. 0, or a negative error number of the hypervisor's.
   */
  cover(port: number, { calls, allocate, isOpen }: PortRoom): number {
    if (this.fifo === undefined) {
      if (port < EVTCHN_2L_NR_CHANNELS) return 0
      const control = allocate()
      const refused = calls.initControl(0, control, 0)
      if (refused < 0) return refused
      this.fifo = new FifoEvents(this.words, control)
      this.low = this.high = 0
    }
    while (port >= this.fifo.portCount) {
      const page = allocate()
      this.fifo.prepare(page, isOpen)
      const refused = calls.expandArray(page)
      if (refused < 0) return refused
      this.fifo.add(page)
    }
    return 0
  }

  private takeQueued(fifo: FifoEvents): number {
    for (;;) {
      if (this.bytes[this.upcallPending] !== 0) {
        this.bytes[this.upcallPending] = 0
        fifo.look()
      }
      if (!fifo.waiting) return 0
      const port = fifo.take()
      if (port !== 0) return port
    }
  }

  private takeSelector(): void {
    this.bytes[this.upcallPending] = 0
    this.low = this.words[this.selector]!
    this.high = this.words[this.selector + 1]!
    this.words[this.selector] = 0
    this.words[this.selector + 1] = 0
  }

  /** Takes a port from the lowest selected word; drops the word from the selection when nothing is left in it. */
  private takeFromSelected(): number {
    const inLow = this.low !== 0
    const half = inLow ? this.low : this.high
    if (half === 0) return 0
    const bit = half & -half
    const word = (inLow ? 0 : 32) + (31 - Math.clz32(bit))
    for (let part = 0; part < 2; part += 1) {
      const index = 2 * word + part
      const active = this.words[this.pending + index]! & ~this.words[this.mask + index]!
      if (active === 0) continue
      const lowest = active & -active
      this.words[this.pending + index]! &= ~lowest
      return index * 32 + (31 - Math.clz32(lowest))
    }
    if (inLow) this.low &= ~bit
    else this.high &= ~bit
    return 0
  }
}
