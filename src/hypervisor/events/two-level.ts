/**
 * The 2-level ABI: a pending and a mask bit for each port in shared_info, and one selector bit for each machine word
 * of pending bits in vcpu_info. 4096 ports for a 64-bit guest, 1024 for a 32-bit one.
 *
 *   port = word * bits + bit      evtchn_pending[word] bit -> evtchn_pending_sel bit `word` -> evtchn_upcall_pending
 *
 * The guest owns these words and may write anything into them: they steer nothing but its own wake-ups.
 *
 * hot path: plain DataView accesses on bytes; a page is told of once for all that a send writes into it, before anybody else hears of
 * the send (with a mark for each bit, sends took a quarter longer).
 * Reference: xen/common/event_2l.c, public/xen.h (struct shared_info).
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import { ERRNO, type GuestAbi } from '../../abi/index.ts'
import type { Channel, EventDelivery, EventDomain, EventHost, UpcallTarget } from './types.ts'

/** Delivers through the bitmaps in shared_info. */
export class TwoLevelDelivery implements EventDelivery {
  readonly abi = '2-level'
  private readonly view: DataView
  private readonly memory: EventHost['memory']
  private readonly domain: EventDomain
  private readonly upcall: UpcallTarget
  /** What the words have been found for, and where they are. */
  private followed!: GuestAbi
  private pendingBits!: number
  private maskBits!: number
  private selectorOffset!: number
  /** Ports in a word, as a power of two. */
  private wordShift!: number
  /** Frame of shared_info, in which both bitmaps lie. */
  private readonly frame: number

  constructor(host: EventHost, domain: EventDomain, upcall: UpcallTarget) {
    this.view = host.memory.view
    this.memory = host.memory
    this.domain = domain
    this.upcall = upcall
    this.frame = domain.sharedInfo >>> PAGE_SHIFT
    this.follow(domain.abi)
  }

  get portCount(): number {
    return this.domain.abi.shared.portCount
  }

  /** Finds the words of a guest that speaks this ABI. */
  private follow(abi: GuestAbi): void {
    const { evtchnPending, evtchnMask, evtchnPendingSel } = abi.shared
    this.followed = abi
    this.pendingBits = this.domain.sharedInfo + evtchnPending
    this.maskBits = this.domain.sharedInfo + evtchnMask
    this.selectorOffset = evtchnPendingSel
    this.wordShift = Math.log2(abi.width)
  }

  /** To be called before any of the words is looked for: the guest may have changed its width. */
  private keepUp(): void {
    const { abi } = this.domain
    if (abi !== this.followed) this.follow(abi)
  }

  bound(): void {}

  setPending(vcpu: number, channel: Channel): void {
    const { port } = channel
    const { view } = this
    this.keepUp()
    const at = port >>> 3
    const bit = 1 << (port & 7)
    const byte = view.getUint8(this.pendingBits + at)
    if ((byte & bit) !== 0) return
    view.setUint8(this.pendingBits + at, byte | bit)
    this.memory.markWritten(this.frame)
    if ((view.getUint8(this.maskBits + at) & bit) === 0) this.select(vcpu, port)
    this.upcall.wakePollers(port)
  }

  clearPending(channel: Channel): void {
    this.keepUp()
    if (this.testAndClear(this.pendingBits, channel.port)) this.memory.markWritten(this.frame)
  }

  unmask(channel: Channel): void {
    const { port } = channel
    this.keepUp()
    if (!this.testAndClear(this.maskBits, port)) return
    this.memory.markWritten(this.frame)
    if (this.test(this.pendingBits, port)) this.select(channel.vcpu, port)
  }

  isPending(channel: Channel): boolean {
    this.keepUp()
    return this.test(this.pendingBits, channel.port)
  }

  isMasked(channel: Channel): boolean {
    this.keepUp()
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
    this.keepUp()
    this.memory.markWritten(info >>> PAGE_SHIFT)
    const at = info + this.selectorOffset
    for (let i = 0; i < this.followed.word.size; i += 4) this.view.setUint32(at + i, 0xffffffff, true)
  }

  /** The frame of shared_info has been told of, and the vCPU's record lies there unless it has moved. */
  private select(vcpu: number, port: number): void {
    const { view } = this
    const info = this.domain.vcpuInfo(vcpu)
    if (info < 0) return
    const word = port >>> this.wordShift
    const at = info + this.selectorOffset + (word >>> 3)
    const bit = 1 << (word & 7)
    const byte = view.getUint8(at)
    if ((byte & bit) !== 0) return
    view.setUint8(at, byte | bit)
    const frame = info >>> PAGE_SHIFT
    if (frame !== this.frame) this.memory.markWritten(frame)
    this.upcall.pend(vcpu, info)
  }

  private test(bits: number, index: number): boolean {
    return (this.view.getUint8(bits + (index >>> 3)) >>> (index & 7) & 1) === 1
  }

  /** Whoever clears a bit that was set tells of the page. */
  private testAndClear(bits: number, index: number): boolean {
    const at = bits + (index >>> 3)
    const byte = this.view.getUint8(at)
    const bit = 1 << (index & 7)
    if ((byte & bit) === 0) return false
    this.view.setUint8(at, byte & ~bit)
    return true
  }
}
