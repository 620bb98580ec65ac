/** A host for event channels alone: memory, domains with shared_info, and a record of who was woken. */
import { NATIVE, SharedInfo, VcpuInfo } from '../../src/abi/index.ts'
import { EventChannels, type DomainEvents, type EventDomain } from '../../src/hypervisor/events/index.ts'
import { WorkMeter } from '../../src/hypervisor/time/work-meter.ts'
import { domId, type DomId } from '../../src/util/index.ts'

const PAGE = 4096

export class EventHostDouble {
  readonly memory = { view: new DataView(new ArrayBuffer(512 * PAGE)), markWritten: () => undefined }
  readonly meter = new WorkMeter()
  readonly channels = new EventChannels(this)
  /** `domain.vcpu` of each wake-up since the last look. */
  readonly woken: string[] = []
  /** Domain identifiers that may act for all others. */
  readonly privileged = new Set<number>([0])
  /** Frames that cannot be had writable. */
  readonly refused = new Set<number>()
  /** References taken on frames and not given back. */
  readonly held: number[] = []
  private nextFrame = 1

  mayControl(caller: DomId): boolean {
    return this.privileged.has(caller)
  }

  mayShare(): boolean {
    return true
  }

  getWritablePage(_domain: DomId, gfn: number): number {
    if (gfn >= 512 || this.refused.has(gfn)) return -1
    this.held.push(gfn)
    return gfn
  }

  putWritablePage(_domain: DomId, mfn: number): void {
    this.held.splice(this.held.indexOf(mfn), 1)
  }

  /** A fresh frame number. */
  frame(): number {
    this.nextFrame += 1
    return this.nextFrame - 1
  }

  /** What was woken since the last look. */
  takeWoken(): string[] {
    return this.woken.splice(0)
  }

  /** A domain with its shared_info in a frame of its own. */
  domain(id: number, options: Partial<EventDomain> = {}): { id: DomId; events: DomainEvents; sharedInfo: number } {
    const sharedInfo = this.frame() * PAGE
    const wake = (vcpu: number): void => void this.woken.push(`${id}.${vcpu}`)
    const events = this.channels.addDomain({
      id: domId(id), vcpuCount: 2, maxPort: 4095, sharedInfo, abi: NATIVE,
      vcpuInfo: (vcpu) => SharedInfo.vcpuInfo.at(sharedInfo, vcpu),
      ...options,
    }, { wake, raised: wake })
    return { id: domId(id), events, sharedInfo }
  }

  /** What a guest's handler does first: takes the upcall and reads its selector. */
  takeUpcall(sharedInfo: number, vcpu = 0): { pending: boolean; selector: bigint } {
    const info = SharedInfo.vcpuInfo.at(sharedInfo, vcpu)
    const { view } = this.memory
    const pending = VcpuInfo.evtchnUpcallPending.get(view, info) !== 0
    VcpuInfo.evtchnUpcallPending.set(view, info, 0)
    const selector = VcpuInfo.evtchnPendingSel.get(view, info)
    VcpuInfo.evtchnPendingSel.set(view, info, 0n)
    return { pending, selector }
  }

  private bit(base: number, port: number): { at: number; mask: number } {
    return { at: base + (port >>> 3), mask: 1 << (port & 7) }
  }

  isPending(sharedInfo: number, port: number): boolean {
    const { at, mask } = this.bit(sharedInfo + SharedInfo.evtchnPending.offset, port)
    return (this.memory.view.getUint8(at) & mask) !== 0
  }

  clearPending(sharedInfo: number, port: number): void {
    const { at, mask } = this.bit(sharedInfo + SharedInfo.evtchnPending.offset, port)
    this.memory.view.setUint8(at, this.memory.view.getUint8(at) & ~mask)
  }

  mask(sharedInfo: number, port: number): void {
    const { at, mask } = this.bit(sharedInfo + SharedInfo.evtchnMask.offset, port)
    this.memory.view.setUint8(at, this.memory.view.getUint8(at) | mask)
  }
}
