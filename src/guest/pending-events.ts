/**
 * The guest's half of the 2-level event channel ABI: finding out which ports are pending, in the guest's own
 * shared_info page, as the upcall of a binary guest does.
 *
 *   vcpu_info.evtchn_upcall_pending   one byte: look at all
 *   vcpu_info.evtchn_pending_sel      64 bits: which of the 64 words below to look at
 *   evtchn_pending[64], evtchn_mask[64]   64 ports in each word
 *
 * hot path: works on 32-bit words of host memory; each step takes one port.
 * Reference: public/xen.h, struct shared_info; public/event_channel.h.
 */
import { PAGE_SIZE, SharedInfo, VcpuInfo } from '../abi/index.ts'
import { shape, type Mfn, type StateOf } from '../util/index.ts'

/** What is left of the selector word that was last taken. */
export const pendingState = /* @__PURE__ */ shape.record({ low: shape.word, high: shape.word })

/** Saved progress through the pending ports. */
export type PendingState = StateOf<typeof pendingState>

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
    return (this.low | this.high) !== 0 || this.bytes[this.upcallPending] !== 0
  }

  /** Takes one pending, unmasked port; 0 when there is none. */
  take(): number {
    while (this.waiting()) {
      if ((this.low | this.high) === 0) this.takeSelector()
      const port = this.takeFromSelected()
      if (port !== 0) return port
    }
    return 0
  }

  /** Masks a port: it stays pending and is not taken. */
  setMask(port: number): void {
    this.words[this.mask + (port >>> 5)]! |= 1 << (port & 31)
  }

  /** Unmasks a port without looking whether it is pending; the hypercall does that. */
  clearMask(port: number): void {
    this.words[this.mask + (port >>> 5)]! &= ~(1 << (port & 31))
  }

  /** Forgets that a port was pending, as is done before a port number is used anew. */
  clearPending(port: number): void {
    this.words[this.pending + (port >>> 5)]! &= ~(1 << (port & 31))
  }

  /** What is pending, for a save of the kernel. */
  save(): PendingState {
    return { low: this.low >>> 0, high: this.high >>> 0 }
  }

  /** Takes over what was pending. */
  load({ low, high }: PendingState): void {
    this.low = low
    this.high = high
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
