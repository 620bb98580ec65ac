/**
 * The 2-level ABI: a pending and a mask bit for each port in shared_info, and one selector bit for each machine word
 * of pending bits in vcpu_info. 4096 ports for a 64-bit guest, 1024 for a 32-bit one.
 *
 *   port = word * bits + bit      evtchn_pending[word] bit -> evtchn_pending_sel bit `word` -> evtchn_upcall_pending
 *
 * The guest owns these words and may write anything into them: they steer nothing but its own wake-ups.
 *
 * hot path: plain DataView accesses on 32-bit words.
 * Reference: xen/common/event_2l.c, public/xen.h (struct shared_info).
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import { ERRNO, type SharedPlaces } from '../../abi/index.ts'
import type { Channel, EventDelivery, EventDomain, EventHost, UpcallTarget } from './types.ts'

/** Delivers through the bitmaps in shared_info. */
export class TwoLevelDelivery implements EventDelivery {
  readonly abi = '2-level'
  private readonly view: DataView
  private readonly memory: EventHost['memory']
  private readonly domain: EventDomain
  private readonly upcall: UpcallTarget

  constructor(host: EventHost, domain: EventDomain, upcall: UpcallTarget) {
    this.view = host.memory.view
    this.memory = host.memory
    this.domain = domain
    this.upcall = upcall
  }

  get portCount(): number {
    return this.places.portCount
  }

  /** Where the words are: the guest may have changed its width. */
  private get places(): SharedPlaces {
    return this.domain.abi.shared
  }

  private get pendingBits(): number {
    return this.domain.sharedInfo + this.places.evtchnPending
  }

  private get maskBits(): number {
    return this.domain.sharedInfo + this.places.evtchnMask
  }

  bound(): void {}

  setPending(vcpu: number, channel: Channel): void {
    const { port } = channel
    if (this.testAndSet(this.pendingBits, port)) return
    if (!this.test(this.maskBits, port)) this.select(vcpu, port)
    this.upcall.wakePollers(port)
  }

  clearPending(channel: Channel): void {
    this.testAndClear(this.pendingBits, channel.port)
  }

  unmask(channel: Channel): void {
    const { port } = channel
    if (this.testAndClear(this.maskBits, port) && this.test(this.pendingBits, port)) this.select(channel.vcpu, port)
  }

  isPending(channel: Channel): boolean {
    return this.test(this.pendingBits, channel.port)
  }

  isMasked(channel: Channel): boolean {
    return this.test(this.maskBits, channel.port)
  }

  isBusy(): boolean {
    return false
  }

  setPriority(): number {
    return -ERRNO.ENOSYS
  }

  /** Sets every selector bit of a vCPU: its vcpu_info has just moved, and events may have come in between. */
  selectAll(vcpu: number): void {
    const info = this.domain.vcpuInfo(vcpu)
    if (info < 0) return
    this.memory.markWritten(info >>> PAGE_SHIFT)
    const at = info + this.places.evtchnPendingSel
    for (let i = 0; i < this.domain.abi.word.size; i += 4) this.view.setUint32(at + i, 0xffffffff, true)
  }

  private select(vcpu: number, port: number): void {
    const info = this.domain.vcpuInfo(vcpu)
    if (info < 0) return
    const { width, shared } = this.domain.abi
    if (!this.testAndSet(info + shared.evtchnPendingSel, Math.floor(port / width))) this.upcall.markPending(vcpu)
  }

  private test(bits: number, index: number): boolean {
    return (this.view.getUint8(bits + (index >>> 3)) >>> (index & 7) & 1) === 1
  }

  private testAndSet(bits: number, index: number): boolean {
    const at = bits + (index >>> 3)
    const byte = this.view.getUint8(at)
    const bit = 1 << (index & 7)
    this.view.setUint8(at, byte | bit)
    this.memory.markWritten(at >>> PAGE_SHIFT)
    return (byte & bit) !== 0
  }

  private testAndClear(bits: number, index: number): boolean {
    const at = bits + (index >>> 3)
    const byte = this.view.getUint8(at)
    const bit = 1 << (index & 7)
    this.view.setUint8(at, byte & ~bit)
    this.memory.markWritten(at >>> PAGE_SHIFT)
    return (byte & bit) !== 0
  }
}
