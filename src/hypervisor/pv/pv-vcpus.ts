/**
 * Processors for PV vCPUs: made when a vCPU gets its registers, given back when its domain goes.
 */
import type { Processor, ProcessorOptions } from '../../machine/index.ts'
import { XenError } from '../../util/index.ts'
import type { GuestMemory } from '../guest-memory.ts'
import type { Vcpu } from '../vcpu.ts'
import type { BounceFrames } from './bounce.ts'
import type { DescriptorTables } from './descriptor-tables.ts'
import type { MmuExtended } from './mmu-extended.ts'
import { PvRunner } from './pv-runner.ts'
import { PvVcpu } from './pv-vcpu.ts'
import type { TlbClock } from './tlb-clock.ts'
import { VirtualAccess } from './virtual-access.ts'

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
  readonly timestamp: ProcessorOptions['timestamp']
}

/** Equips vCPUs with processors. */
export class PvVcpus {
  private readonly parts: PvVcpusParts

  constructor(parts: PvVcpusParts) {
    this.parts = parts
  }

  /** The PV state of a vCPU, made at first use. Throws NOT_SUPPORTED on a host without processors. */
  ensure(vcpu: Vcpu): PvVcpu {
    if (vcpu.pv !== undefined) return vcpu.pv
    const { createProcessor, descriptorTables, memory, tlb, timestamp, frames } = this.parts
    if (createProcessor === undefined) {
      throw new XenError('NOT_SUPPORTED', 'this host has no processors for binary guests', {
        details: { domid: vcpu.domain },
      })
    }
    const processor = createProcessor({
      mode: 'hosted',
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
