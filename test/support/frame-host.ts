/**
 * As much of a hypervisor as saving and restoring an image needs, for one domain: frames, machine-to-physical numbers,
 * page tables that are typed when they are pinned, and vCPU contexts. System tests use the real one.
 */
import {
  FRAME_KIND, type CompatEntries, type CpuPolicy, type DomainInfo, type FrameInfo, type MsrEntry, type TscInfo, type VcpuContext, type VcpuInfoSnapshot,
} from '../../src/hypervisor/index.ts'
import type { RestoreControl } from '../../src/toolstack/save/pv-image-reader.ts'
import type { SaveControl } from '../../src/toolstack/save/pv-image-writer.ts'
import { XenError, type DomId, type GrantRef, type Mfn } from '../../src/util/index.ts'
import { PAGE_SHIFT, PTE, PTE_HIGH_FRAME } from '../../src/x86/index.ts'

interface Frame {
  readonly bytes: Uint8Array
  pfn: number | undefined
  level: number
  pinned: boolean
}

const TYPES = ['none', 'l1', 'l2', 'l3', 'l4'] as const

/** One domain on a host of `total` frames. */
export class FrameHost implements SaveControl, RestoreControl {
  readonly domid = 7 as DomId
  readonly sharedInfoFrame: Mfn
  readonly frames = new Map<number, Frame>()
  readonly contexts = new Map<number, VcpuContext>()
  readonly grants = new Map<number, number>()
  /** Policy and registers as they were set; and what the host says that it lacks. */
  policy: CpuPolicy = { cpuid: [], msrs: [] }
  readonly msrs = new Map<number, readonly MsrEntry[]>()
  missing: string[] = []
  /** Extended state as it was set, and the bits of XCR0 that may be. */
  readonly extended = new Map<number, Uint8Array>()
  offered = 0
  /** Entries of 32-bit system calls, and the time-stamp counter. */
  readonly entries = new Map<number, CompatEntries>()
  tsc: TscInfo = { mode: 0, kilohertz: 1_000_000, nanoseconds: 5_000_000n, incarnation: 1 }
  /** Bits of the guest's machine word. */
  addressSize: 32 | 64 = 64
  private readonly total: number
  private readonly vcpus: number
  private nextFrame = 1000

  constructor(total = 4096, vcpus = 1) {
    this.total = total
    this.vcpus = vcpus
    this.sharedInfoFrame = this.add(undefined)
  }

  private add(pfn: number | undefined): Mfn {
    // Not in order, so that nothing works by accident.
    this.nextFrame += 7
    this.frames.set(this.nextFrame, { bytes: new Uint8Array(4096), pfn, level: 0, pinned: false })
    return this.nextFrame as Mfn
  }

  private frame(frame: number): Frame {
    const found = this.frames.get(frame)
    if (found === undefined) throw new XenError('INVALID_ADDRESS', `frame ${frame} is not the domain's`)
    return found
  }

  getCpuPolicy(): CpuPolicy {
    return this.policy
  }

  setCpuPolicy(_: DomId, policy: CpuPolicy): string[] {
    this.policy = policy
    return this.missing
  }

  getVcpuMsrs(_: DomId, vcpu: number): MsrEntry[] {
    return [...this.msrs.get(vcpu) ?? []]
  }

  setVcpuMsrs(_: DomId, vcpu: number, msrs: readonly MsrEntry[]): void {
    this.msrs.set(vcpu, msrs)
  }

  getVcpuExtendedState(_: DomId, vcpu: number): Uint8Array {
    return this.extended.get(vcpu) ?? new Uint8Array(0)
  }

  setVcpuExtendedState(_: DomId, vcpu: number, state: Uint8Array): void {
    this.extended.set(vcpu, state)
  }

  offeredState(): number {
    return this.offered
  }

  populatePhysmap(_: DomId, count: number, firstPfn?: number): Mfn[] {
    if (this.frames.size + count > this.total) throw new XenError('OUT_OF_MEMORY', 'no frames are left')
    return Array.from({ length: count }, (_unused, i) => this.add(firstPfn === undefined ? undefined : firstPfn + i))
  }

  releaseFrames(_: DomId, frames: readonly Mfn[]): number {
    return frames.filter((frame) => this.frames.delete(frame)).length
  }

  frameBytes(_: DomId, frame: Mfn): Uint8Array {
    return this.frame(frame).bytes
  }

  frameKinds(_: DomId, frames: Uint32Array): Uint8Array {
    return Uint8Array.from(frames, (mfn) => {
      const { owner, type, validated, pinned } = this.frameInfo(mfn as Mfn)
      if (owner !== this.domid) return FRAME_KIND.NOT_OWNED
      return validated ? TYPES.indexOf(type as (typeof TYPES)[number]) | (pinned ? FRAME_KIND.PINNED : 0) : 0
    })
  }

  readFrames(_: DomId, frames: Uint32Array, into: Uint8Array): void {
    frames.forEach((mfn, i) => into.set(this.frame(mfn).bytes, i * 4096))
  }

  writeFrames(_: DomId, frames: Uint32Array, from: Uint8Array): void {
    frames.forEach((mfn, i) => this.frame(mfn).bytes.set(from.subarray(i * 4096, (i + 1) * 4096)))
  }

  markWritten(): void {}

  /** It knows of none: all are looked at. */
  blankFrames(_: DomId, frames: Uint32Array): Uint8Array {
    return new Uint8Array(frames.length)
  }

  machineToPhys(frame: Mfn): number | undefined {
    return this.frames.get(frame)?.pfn
  }

  framePfns(frames: Uint32Array): Uint32Array {
    return frames.map((frame) => this.machineToPhys(frame as Mfn) ?? 0xffff_ffff)
  }

  frameInfo(frame: Mfn): FrameInfo {
    const found = this.frames.get(frame)
    return {
      owner: found === undefined || frame === this.sharedInfoFrame ? undefined : this.domid,
      type: TYPES[found?.level ?? 0]!,
      typeCount: 1,
      references: 1,
      pinned: found?.pinned ?? false,
      validated: (found?.level ?? 0) > 0,
    }
  }

  pinTable(_: DomId, frame: Mfn, level: 1 | 2 | 3 | 4): void {
    this.validate(frame, level)
    this.frame(frame).pinned = true
  }

  unpinTable(_: DomId, frame: Mfn): void {
    this.frame(frame).pinned = false
  }

  private validate(mfn: number, level: number): void {
    const frame = this.frame(mfn)
    if (frame.level === level) return
    if (frame.level !== 0)
      throw new XenError('INVALID_STATE', `frame ${mfn} is a table of level ${frame.level} already`)
    frame.level = level
    const view = new DataView(frame.bytes.buffer, frame.bytes.byteOffset, 4096)
    for (let at = 0; at < 4096; at += 8) {
      if ((view.getUint32(at, true) & PTE.PRESENT) === 0) continue
      const next = (view.getUint32(at + 4, true) & PTE_HIGH_FRAME) * 2 ** 20 + (view.getUint32(at, true) >>> PAGE_SHIFT)
      if (level > 1) this.validate(next, level - 1)
      else this.frame(next)
    }
  }

  setVcpuContext(_: DomId, vcpu: number, context: VcpuContext): void {
    this.contexts.set(vcpu, context)
  }

  getVcpuContext(_: DomId, vcpu: number): VcpuContext {
    return this.contexts.get(vcpu)!
  }

  seedGrant(_: DomId, ref: GrantRef, entry: { readonly frame: Mfn }): void {
    this.grants.set(ref, entry.frame)
  }

  vcpuInfo(_: DomId, vcpu: number): VcpuInfoSnapshot {
    return { vcpu, online: this.contexts.has(vcpu), running: false, blocked: false, polling: undefined, cpuTime: 0, cpu: 0 }
  }

  domainInfo(): DomainInfo {
    return {
      domid: this.domid,
      kind: 'pv',
      hasRegisters: true,
      translated: false,
      addressSize: this.addressSize,
      privileged: false,
      running: false,
      blocked: false,
      paused: true,
      shutdown: true,
      crashed: false,
      dying: false,
      shutdownReason: 2,
      totalPages: this.frames.size - 1,
      maxPages: this.total,
      sharedInfoFrame: this.sharedInfoFrame,
      cpuTime: 0,
      onlineVcpus: this.contexts.size,
      maxVcpu: this.vcpus - 1, pool: 0, outstandingPages: 0,
      handle: new Uint8Array(16),
    }
  }

  getTscInfo(): TscInfo {
    return this.tsc
  }

  setTscInfo(_: DomId, info: TscInfo): void {
    this.tsc = info
  }

  getVcpuEntries(_: DomId, vcpu: number): CompatEntries | undefined {
    return this.entries.get(vcpu)
  }

  setVcpuEntries(_: DomId, vcpu: number, entries: CompatEntries): void {
    this.entries.set(vcpu, entries)
  }
}
