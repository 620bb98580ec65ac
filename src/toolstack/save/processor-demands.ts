/**
 * What a stream asks of the processor that its domain goes on with: the CPUID policy that the guest has seen, extended state,
 * model-specific registers, entries of 32-bit system calls. What this host does not offer is refused by name before anything runs; a guest that was let on
 * would die at an instruction that it has found long ago.
 * Reference: tools/libs/guest/xg_sr_common_x86.c, xg_sr_restore_x86_pv.c; xen/arch/x86/xstate.c.
 */
import type { CompatEntries, ControlInterface, CpuidLeaf, MsrEntry, VcpuContext } from '../../hypervisor/index.ts'
import { type DomId, XenError } from '../../util/index.ts'
import { CR4 } from '../../x86/index.ts'
import type { BulkRecord } from '../stream/index.ts'
import { decodeEntries } from './entries-record.ts'

/**
 * What becomes of a domain that was shown more features than this host has: `refuse` it; or `mask` them, which serves a
 * guest that does not use them or looks again. One whose registers prove that it uses them is refused all the same.
 */
export type CpuPolicyChoice = 'refuse' | 'mask'

/** What is used of the control interface. */
export type ProcessorControl = Pick<ControlInterface, 'setCpuPolicy' | 'setVcpuMsrs' | 'setVcpuExtendedState' | 'setVcpuEntries' | 'offeredState'>

/** A policy of today has a hundred leaves. */
const MOST_LEAVES = 256
const MOST_MSRS = 64
/** Bits of XCR0 beyond x87 and SSE, which every processor has. */
const COMPONENTS: readonly string[] = [
  '', '', 'avx', 'mpx', 'mpx', 'avx512f', 'avx512f', 'avx512f', '', 'pku', '', 'shstk', 'shstk', '', '', '', '', 'amx_tile', 'amx_tile',
]
const X87_AND_SSE = 3n
/** XCR0, and all bits that it ever had; then the state itself. */
const XSTATE_HEADER = 16

const refusal = (what: string, features: readonly string[]): XenError =>
  new XenError('NOT_SUPPORTED', `${what}, which this host does not offer: ${features.join(', ')}`, { details: { features } })

const bad = (what: string, details: Record<string, unknown> = {}): XenError =>
  new XenError('INVALID_STREAM', what, { details })

/** Collects what the records of one image ask for. */
export class ProcessorDemands {
  private readonly control: ProcessorControl
  private readonly domid: DomId
  private readonly choice: CpuPolicyChoice
  private cpuid: readonly CpuidLeaf[] = []
  private msrs: readonly MsrEntry[] = []
  /** The policy has not been given to the domain. */
  private isNew = true
  private readonly registers = new Map<number, readonly MsrEntry[]>()
  private readonly states = new Map<number, Uint8Array>()
  private readonly entries = new Map<number, CompatEntries>()

  constructor(control: ProcessorControl, domid: DomId, choice: CpuPolicyChoice) {
    this.control = control
    this.domid = domid
    this.choice = choice
  }

  /** Takes one record; those that are about something else are no matter. */
  take(record: BulkRecord): void {
    switch (record.type) {
      case 'cpuid-policy':
        if (record.leaves.length > MOST_LEAVES) throw bad(`a CPUID policy of ${record.leaves.length} leaves; ${MOST_LEAVES} are allowed`)
        this.cpuid = record.leaves
        this.isNew = true
        return
      case 'msr-policy':
        this.msrs = limited(record.msrs)
        this.isNew = true
        return
      case 'static-data-end': return this.settle()
      case 'vcpu-xsave': return this.takeState(record.vcpu, record.blob)
      // Empty ones were written by Xen 4.6 to 4.8.
      case 'vcpu-extended':
        if (record.blob.length > 0) this.entries.set(record.vcpu, decodeEntries(record.vcpu, record.blob))
        return
      case 'vcpu-msrs':
        this.registers.set(record.vcpu, limited(record.msrs))
        return
      default:
    }
  }

  /** The policy is whole: nothing of the domain has been read yet. Older streams have no record that says so. */
  settle(): void {
    if (this.cpuid.length === 0 || !this.isNew) return
    this.isNew = false
    const missing = this.control.setCpuPolicy(this.domid, { cpuid: this.cpuid, msrs: this.msrs })
    if (missing.length === 0 || this.choice === 'mask') return
    throw new XenError(
      'NOT_SUPPORTED',
      `the domain was shown features that this host does not offer: ${missing.join(', ')}; ` +
        'give `cpuPolicy: \'mask\'` to hide them from now on',
      { details: { features: missing, option: 'cpuPolicy' } },
    )
  }

  /** Looks at what a vCPU's registers say of features in use. */
  checkContext(vcpu: number, context: VcpuContext): void {
    const usesXsave = (Number(context.cr4 & 0xffff_ffffn) & CR4.OSXSAVE) !== 0
    if (usesXsave && this.control.offeredState(this.domid) === 0) throw refusal(`vCPU ${vcpu} has switched on CR4.OSXSAVE`, ['xsave'])
  }

  /** Writes the registers that the vCPUs have come with; all of them have their contexts. */
  apply(): void {
    for (const [vcpu, entries] of this.entries) this.control.setVcpuEntries(this.domid, vcpu, entries)
    for (const [vcpu, state] of this.states) this.control.setVcpuExtendedState(this.domid, vcpu, state)
    for (const [vcpu, msrs] of this.registers) this.control.setVcpuMsrs(this.domid, vcpu, msrs)
  }

  /** State of x87 and SSE alone is in the vCPU's context as well, for a processor without XSAVE. */
  private takeState(vcpu: number, blob: Uint8Array): void {
    this.checkState(vcpu, blob)
    if (this.control.offeredState(this.domid) !== 0 && blob.length > 0) this.states.set(vcpu, blob.slice())
  }

  /** Looks at extended state, which begins with XCR0 and all bits that it ever had. Throws NOT_SUPPORTED by name. */
  checkState(vcpu: number, blob: Uint8Array): void {
    checkExtendedState(vcpu, blob, this.control.offeredState(this.domid))
  }
}

function limited(msrs: readonly MsrEntry[]): readonly MsrEntry[] {
  if (msrs.length > MOST_MSRS) throw bad(`${msrs.length} model-specific registers; ${MOST_MSRS} are allowed`)
  return msrs
}

/** State of more than x87 and SSE needs a processor that has it. */
function checkExtendedState(vcpu: number, blob: Uint8Array, offered: number): void {
  if (blob.length === 0) return
  if (blob.length < XSTATE_HEADER) throw bad(`the extended state of vCPU ${vcpu} has ${blob.length} bytes`, { vcpu })
  const used = new DataView(blob.buffer, blob.byteOffset, blob.byteLength).getBigUint64(8, true) & ~(X87_AND_SSE | BigInt(offered))
  if (used === 0n) return
  const bits = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (used >> BigInt(bit) & 1n) === 1n)
  const names = bits.map((bit) => `${COMPONENTS[bit] || 'a component'} (XCR0 bit ${bit})`)
  throw refusal(`vCPU ${vcpu} has used extended state`, names)
}
