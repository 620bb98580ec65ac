/**
 * One domain: identity, limits, counts and state. Operations on domains are in domain-control.ts; what a domain's
 * frames, ports and grants are is kept by the parts that own them.
 */
import type { CpuidTable } from './cpu-policy.ts'
import { LEGACY_MAX_VCPUS, SharedInfo, VcpuInfo } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import type { CrashReport } from '../console/crash-report.ts'
import type { DomainWatchdogs } from '../time/index.ts'
import type { Vcpu } from './vcpu.ts'
import type { RunnerFactory } from './vcpu-runner.ts'

/** One range of a domain's memory map (e820): 64-bit values in halves. */
export interface MemoryMapEntry {
  readonly addressLow: number
  readonly addressHigh: number
  readonly sizeLow: number
  readonly sizeHigh: number
  readonly type: number
}

/** Facts that never change. */
export interface DomainFacts {
  readonly id: DomId
  readonly kind: 'pv' | 'typescript'
  readonly privileged: boolean
  readonly handle: Uint8Array
  readonly vcpuCount: number
  readonly maxPort: number
  readonly sharedInfoFrame: number
  readonly createRunner: RunnerFactory | undefined
}

/** A domain of the host. */
export class Domain implements DomainFacts {
  readonly id: DomId
  readonly kind: 'pv' | 'typescript'
  readonly privileged: boolean
  readonly handle: Uint8Array
  readonly vcpuCount: number
  readonly maxPort: number
  readonly sharedInfoFrame: number
  readonly createRunner: RunnerFactory | undefined
  /** Byte address of shared_info. */
  readonly sharedInfo: number
  /** Bits of the guest's machine word. */
  readonly wordBits = 64
  readonly vcpus: Vcpu[] = []
  watchdogs!: DomainWatchdogs
  maxPages = 0
  /** Frames of its reservation, and frames that the hypervisor shares with it. */
  totalPages = 0
  sharedPages = 0
  /** A new domain is paused once. */
  pauseCount = 1
  dying = false
  isShutDown = false
  shutdownReason = 0
  /** Reason set by SCHEDOP_shutdown_code for a later crash, or -1. */
  shutdownCode = -1
  /** How it crashed; undefined while it has not. */
  crashReport: CrashReport | undefined
  /** Frame of the start_info that a suspend hypercall named; -1 for none. */
  suspendFrame = -1
  /** vm_assist types in force, one bit each; type 32 apart. */
  assists = 0
  hidesMachineToPhys = false
  memoryMap: readonly MemoryMapEntry[] = []
  /** Frame of the bitmap of interrupts that want an end-of-interrupt call, or -1. */
  eoiFrame = -1
  /** What CPUID tells it, where it has come with a policy of its own. */
  cpuPolicy: CpuidTable | undefined = undefined
  /** Frames are watched for writes. */
  logDirty = false

  constructor(facts: DomainFacts) {
    this.id = facts.id
    this.kind = facts.kind
    this.privileged = facts.privileged
    this.handle = facts.handle
    this.vcpuCount = facts.vcpuCount
    this.maxPort = facts.maxPort
    this.sharedInfoFrame = facts.sharedInfoFrame
    this.createRunner = facts.createRunner
    this.sharedInfo = facts.sharedInfoFrame * 4096
  }

  /** True while its vCPUs may run. */
  get isActive(): boolean {
    return this.pauseCount === 0 && !this.isShutDown && !this.dying
  }

  /** Byte address of the vCPU's vcpu_info, or -1. */
  vcpuInfo(vcpu: number): number {
    return this.vcpus[vcpu]?.infoAddress ?? this.defaultVcpuInfo(vcpu)
  }

  /** Where the vCPU's vcpu_info is before it registers one elsewhere, or -1. */
  defaultVcpuInfo(vcpu: number): number {
    return vcpu < LEGACY_MAX_VCPUS ? this.sharedInfo + SharedInfo.vcpuInfo.offset + vcpu * VcpuInfo.size : -1
  }

  /** True while a vm_assist type is in force. */
  hasAssist(type: number): boolean {
    return (this.assists & (1 << type)) !== 0
  }
}
