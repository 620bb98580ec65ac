/**
 * Processors for PV vCPUs: made when a vCPU gets its registers, given back when its domain goes.
 */
import type { Processor, ProcessorOptions } from '../../../machine/index.ts'
import { XenError } from '../../../util/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { BounceFrames } from './bounce.ts'
import type { DescriptorTables } from './descriptor-tables.ts'
import type { MmuExtended } from './mmu-extended.ts'
import { PvRunner } from './pv-runner.ts'
import { PvVcpu } from './pv-vcpu.ts'
import type { TlbClock } from './tlb-clock.ts'
import { VirtualAccess } from '../../memory/virtual-access.ts'

/** Adds a processor to the machine. */
export type ProcessorFactory = (options: ProcessorOptions) => Processor

/** What this part works on. */
export interface PvVcpusParts {
  readonly memory: GuestMemory
  readonly tlb: TlbClock
  readonly mmu: MmuExtended
  readonly descriptorTables: DescriptorTables
  readonly frames: BounceFrames
  readonly createProcessor: ProcessorFactory | undefined
  /** Most processors that it can make at a time. */
  readonly processors: number
  readonly timestamp: ProcessorOptions['timestamp']
}

/** Equips vCPUs with processors. */
export class PvVcpus {
  private readonly parts: PvVcpusParts
  /** vCPUs of PV domains, with a processor or without. */
  private reserved = 0

  constructor(parts: PvVcpusParts) {
    this.parts = parts
  }

  /** Throws OUT_OF_RESOURCES unless so many more vCPUs can have a processor each. */
  checkRoom(count: number): void {
    const free = this.parts.processors - this.reserved
    if (count <= free) return
    throw new XenError('OUT_OF_RESOURCES', `${count} vCPUs need as many processors, and the host has ${free} left`, {
      details: { vcpus: count, free },
    })
  }

  /** Keeps a processor for a vCPU, as Xen takes what a vCPU needs when its domain is made; `checkRoom` comes before. */
  reserve(): void {
    this.reserved += 1
  }

  /** Gives back what `reserve` has kept; the vCPU has been dropped. */
  unreserve(): void {
    this.reserved -= 1
  }

  /** Makes sure that a vCPU has PV state; false when the machine has no processor for it. */
  has(vcpu: Vcpu): boolean {
    try {
      this.ensure(vcpu)
      return true
    } catch (error) {
      if (XenError.is(error)) return false
      throw error
    }
  }

  /** The PV state of a vCPU, made at first use. Throws NOT_SUPPORTED on a host without processors. */
  ensure(vcpu: Vcpu): PvVcpu {
    if (vcpu.pv !== undefined) return vcpu.pv
    const { createProcessor, descriptorTables, memory, tlb, timestamp, frames } = this.parts
    if (createProcessor === undefined) {
      throw new XenError('NOT_SUPPORTED', 'this host has no processors for binary guests', {
        details: { domid: vcpu.domid },
      })
    }
    const processor = createProcessor({
      mode: 'hosted', accounting: 'work',
      descriptors: {
        read: (selector, out) => vcpu.pv !== undefined && descriptorTables.read(vcpu.owner, vcpu.pv, selector, out),
      },
      ...(timestamp === undefined ? {} : { timestamp }),
      topology: { index: vcpu.vcpu, count: vcpu.owner.vcpus.length },
    })
    const pv = new PvVcpu(processor)
    vcpu.pv = pv
    vcpu.access = new VirtualAccess(memory, () => pv.root)
    vcpu.kernelAccess = new VirtualAccess(memory, () => pv.kernelTable)
    vcpu.runner = new PvRunner(vcpu, pv, { frames, memory })
    tlb.add(pv)
    return pv
  }

  /** Takes the PV state away: tables, descriptor tables, processor. */
  drop(vcpu: Vcpu): void {
    const { pv } = vcpu
    if (pv === undefined) return
    const { mmu, descriptorTables, tlb } = this.parts
    mmu.dropTables(vcpu)
    descriptorTables.dropGdt(pv)
    descriptorTables.dropLdt(pv)
    tlb.remove(pv)
    vcpu.pv = undefined
    pv.processor.destroy()
  }
}
