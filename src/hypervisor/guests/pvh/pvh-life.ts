/**
 * What becomes of a PVH domain's vCPUs by what happens outside of them: interrupts that wake them, INIT, start-up, NMI, and
 * frames that change under them.
 * Reference: xen/arch/x86/hvm/vlapic.c, vlapic_init_sipi_one; xen/arch/x86/hvm/hvm.c, hvm_vcpu_down, hvm_vcpu_reset_state.
 */
import { VcpuInfo } from '../../../abi/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { PvhDomain, VcpuLives } from './pvh-domain.ts'
import { pvhOf } from './pvh-vcpu.ts'
import { restartTimestamp } from './timestamps.ts'

/** What it works on. */
export interface PvhLifeParts {
  readonly execution: VcpuExecution
  readonly memory: Pick<GuestMemory, 'view'>
}

/** What happens to the vCPUs of PVH domains. */
export class PvhLife implements VcpuLives {
  private readonly execution: VcpuExecution
  private readonly memory: Pick<GuestMemory, 'view'>

  constructor({ execution, memory }: PvhLifeParts) {
    this.execution = execution
    this.memory = memory
  }

  wake({ vcpus }: PvhDomain, vcpu: number): void {
    const woken = vcpus[vcpu]
    if (woken !== undefined) this.execution.wake(woken)
  }

  hasEvent({ vcpus }: PvhDomain, vcpu: number): boolean {
    const { infoAddress = -1 } = vcpus[vcpu] ?? {}
    return infoAddress >= 0 && VcpuInfo.evtchnUpcallPending.get(this.memory.view, infoAddress) !== 0
  }

  nmi(domain: PvhDomain, vcpu: number): void {
    domain.vcpus[vcpu]!.guest?.raiseNmi?.()
    this.wake(domain, vcpu)
  }

  /** INIT: the vCPU goes down and waits for a start-up; one that has never been up is in that state. */
  initialise({ vcpus }: PvhDomain, index: number): boolean {
    const vcpu = vcpus[index]!
    if (!vcpu.initialised) return false
    this.execution.takeDown(vcpu)
    vcpu.initialised = false
    this.execution.wake(vcpu)
    return true
  }

  /** Start-up of a vCPU that waits for it; for another one it means nothing. */
  startUp({ vcpus }: PvhDomain, index: number, vector: number): void {
    const vcpu = vcpus[index]!
    if (vcpu.initialised || vcpu.equip() < 0) return
    const pvh = pvhOf(vcpu)!
    pvh.startUp(vector)
    restartTimestamp(pvh)
    this.bringUp(vcpu)
  }

  /** A vCPU has got its first registers. */
  bringUp(vcpu: Vcpu): void {
    vcpu.initialised = true
    this.execution.bringUp(vcpu)
  }

  /** A vCPU has no registers: it waits for a start-up. */
  takeOffline(vcpu: Vcpu): void {
    vcpu.initialised = false
    vcpu.online = false
    this.execution.update(vcpu)
  }

  crash({ vcpus }: Pick<PvhDomain, 'vcpus'>, reason: string): void {
    this.execution.crash(vcpus[0]!, reason)
  }

  /** What lies at a frame number has changed: no processor of the domain may use what it has remembered of it. */
  forgetFrame({ vcpus }: PvhDomain, gfn: number): void {
    for (const vcpu of vcpus) pvhOf(vcpu)?.processor.flushFrame(gfn)
  }
}
