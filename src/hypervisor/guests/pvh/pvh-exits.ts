/**
 * What the exits of a PVH vCPU's processor mean: hypercalls, MSRs, ports, its local APIC's page, memory that is not there,
 * HLT, and the end of a processor that could not deliver an exception.
 * Reference: xen/arch/x86/hvm/hypercall.c, hvm_hypercall; hvm/hvm.c, hvm_hlt, hvm_triple_fault, hvm_hap_nested_page_fault.
 */
import { ERRNO, HVM_PARAM } from '../../../abi/index.ts'
import type { MemoryDevice } from '../../../machine/index.ts'
import { type EventHub, TWO_32 } from '../../../util/index.ts'
import { ATTRIBUTE, CR0, DR6, GPR, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { CALL_SILENT, HypercallArguments, type HypercallTable } from '../../domains/hypercall.ts'
import type { PrivilegedOperation, VcpuExit } from '../../domains/vcpu-runner.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import { PLACE } from '../../frames/physical-map.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import { APIC_PAGE, type LocalApic } from '../../local-apic/local-apic.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import { type MsrSubject, readPvhMsr, writePvhMsr } from './msrs.ts'
import type { PvhPorts } from './ports.ts'
import type { PvhVcpu } from './pvh-vcpu.ts'

/** What the exits need. */
export interface PvhExitParts {
  /** The tables of both ABIs: the calling vCPU's mode decides. */
  readonly hypercalls: { readonly native: HypercallTable; readonly compat: HypercallTable }
  readonly execution: VcpuExecution
  readonly memory: GuestMemory
  readonly hub: EventHub<HypervisorEvent>
  readonly meter: WorkMeter
  readonly ports: PvhPorts
  msrsOf(pvh: PvhVcpu): MsrSubject
}

/** Registers that carry a hypercall's arguments, in 64-bit code and in other code. */
const LONG_ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9] as const
const SHORT_ARGUMENTS = [GPR.rbx, GPR.rcx, GPR.rdx, GPR.rsi, GPR.rdi, GPR.rbp] as const
/** Failed deliveries after which no more is tried: exception, double fault, and what cannot be delivered any more. */
const MOST_FAILURES = 3
/** Where nothing is: reads of ones, writes to nowhere. */
const NOTHING: MemoryDevice = { read: () => -1, write: () => undefined }

/** Gives exits their meaning. One object serves all vCPUs. */
export class PvhExits {
  private readonly parts: PvhExitParts
  private readonly args = new HypercallArguments()

  constructor(parts: PvhExitParts) {
    this.parts = parts
  }

  /** Handles one exit; the vCPU can be entered again afterwards unless its domain has ended. */
  handle(pvh: PvhVcpu, exit: VcpuExit): void {
    if (exit.kind !== 'physical') pvh.failedDeliveries = 0
    switch (exit.kind) {
      case 'privileged':
        this.privileged(pvh, exit.request)
        return
      case 'physical':
        this.parts.meter.charge(WORK.emulation)
        this.physical(pvh, exit.access)
        return
      case 'halt':
        this.halt(pvh)
        return
      case 'shutdown':
        this.tripleFault(pvh)
        return
      default:
    }
  }

  private privileged(pvh: PvhVcpu, request: PrivilegedOperation): void {
    if (request.operation === 'vmcall') {
      this.hypercall(pvh, request.length)
      return
    }
    this.parts.meter.charge(WORK.emulation)
    switch (request.operation) {
      case 'rdmsr': return this.finish(pvh, request, this.rdmsr(pvh))
      case 'wrmsr': return this.finish(pvh, request, this.wrmsr(pvh))
      case 'read-cr':
        pvh.processor.registers.set(request.general, apicOf(pvh).taskPriority, 0)
        return this.finish(pvh, request, true)
      case 'write-cr':
        apicOf(pvh).taskPriority = pvh.processor.registers.low(request.general)
        return this.finish(pvh, request, true)
      case 'in': return this.finish(pvh, request, this.input(pvh, request))
      case 'out':
        this.parts.ports.of(pvh).write(request.port, request.size, pvh.processor.registers.low(GPR.rax))
        return this.finish(pvh, request, true)
      case 'ins': case 'outs':
        if (!pvh.processor.carryOut({ ports: this.parts.ports.of(pvh) })) this.dataFault(pvh)
        return
      default: this.inject(pvh, VECTOR.UD)
    }
  }

  /** Goes behind an instruction that is done; the others fault. */
  private finish(pvh: PvhVcpu, { length }: PrivilegedOperation, isDone: boolean): void {
    if (isDone) advance(pvh, length)
    else this.inject(pvh, VECTOR.GP, 0)
  }

  /** IN: kernels that look for what is not here do it a hundred thousand times. */
  private input(pvh: PvhVcpu, { port, size }: PrivilegedOperation): boolean {
    const { registers } = pvh.processor
    const value = this.parts.ports.of(pvh).read(port, size)
    const mask = size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff
    registers.set(GPR.rax, ((registers.low(GPR.rax) & ~mask) | (value & mask)) >>> 0, size === 4 ? 0 : registers.high(GPR.rax))
    return true
  }

  private rdmsr(pvh: PvhVcpu): boolean {
    const { registers } = pvh.processor
    const value = readPvhMsr(this.parts.msrsOf(pvh), registers.low(GPR.rcx))
    if (value === undefined) return false
    registers.set(GPR.rax, value[0], 0)
    registers.set(GPR.rdx, value[1], 0)
    return true
  }

  private wrmsr(pvh: PvhVcpu): boolean {
    const { registers } = pvh.processor
    return writePvhMsr(this.parts.msrsOf(pvh), registers.low(GPR.rcx), [registers.low(GPR.rax), registers.low(GPR.rdx)])
  }

  /** VMCALL or VMMCALL: for ring 0 of protected mode only. */
  private hypercall(pvh: PvhVcpu, length: number): void {
    const { registers } = pvh.processor
    const { args } = this
    const isProtected = (registers.controlLow(0) & CR0.PE) !== 0
    if (!isProtected || (registers.attributes(SEGMENT.ss) & ATTRIBUTE.DPL) !== 0) {
      this.answer(pvh, -ERRNO.EPERM, length)
      return
    }
    const isLong = pvh.isLongCode
    const names = isLong ? LONG_ARGUMENTS : SHORT_ARGUMENTS
    for (let i = 0; i < names.length; i += 1) {
      args.low[i] = registers.low(names[i]!)
      args.high[i] = isLong ? registers.high(names[i]!) : 0
    }
    const number = isLong && registers.high(GPR.rax) !== 0 ? -1 : registers.low(GPR.rax)
    const { native, compat } = this.parts.hypercalls
    const result = (isLong ? native : compat).call(pvh.vcpu, number, args)
    if (result === CALL_SILENT) return
    if (result === CALL_AGAIN) {
      // The instruction is executed again, with the arguments that are left.
      for (let i = 0; i < names.length; i += 1) registers.set(names[i]!, args.low[i]!, args.high[i]!)
      return
    }
    this.answer(pvh, result, length)
  }

  private answer(pvh: PvhVcpu, result: number, length: number): void {
    const high = pvh.isLongCode ? Math.floor(result / TWO_32) >>> 0 : 0
    pvh.processor.registers.set(GPR.rax, result >>> 0, high)
    advance(pvh, length)
  }

  /** HLT: the vCPU sleeps until something comes; with interrupts off it asks to be gone. */
  private halt({ vcpu, processor }: PvhVcpu): void {
    const { execution } = this.parts
    if (execution.hasUpcall(vcpu)) return
    if ((processor.registers.systemFlags() & RFLAGS.IF) === 0) execution.takeDown(vcpu)
    else execution.block(vcpu)
  }

  private tripleFault({ vcpu, domain }: PvhVcpu): void {
    const reason = domain.parameters.get(HVM_PARAM.TRIPLE_FAULT_REASON, 'tools')
    this.parts.execution.shutdown(vcpu.owner, Number(reason), vcpu)
  }

  /** An access to what is no memory of the guest's, or not for that use. */
  private physical(pvh: PvhVcpu, access: Extract<VcpuExit, { kind: 'physical' }>['access']): void {
    pvh.failedDeliveries += 1
    const device = access.isTable || access.access === 'execute' ? undefined : this.deviceAt(pvh, access.address)
    if (device !== undefined && pvh.processor.carryOut({ memory: device })) {
      pvh.failedDeliveries = 0
      return
    }
    this.dataFault(pvh)
  }

  /** An instruction that nothing can be made of; one in a row too many cannot be delivered at all. */
  private dataFault(pvh: PvhVcpu): void {
    if (pvh.failedDeliveries > MOST_FAILURES) this.tripleFault(pvh)
    else this.inject(pvh, VECTOR.GP, 0)
  }

  /** What lies at a guest-physical address in place of memory; undefined where others' memory may not be used that way. */
  private deviceAt(pvh: PvhVcpu, address: number): MemoryDevice | undefined {
    const gfn = Math.floor(address / PAGE_SIZE)
    const { physmap } = pvh.domain
    switch (physmap.kind(gfn)) {
      case PLACE.NONE: {
        const apic = apicOf(pvh)
        return gfn === APIC_PAGE >>> PAGE_SHIFT && apic.hasPage ? apicDevice(apic) : NOTHING
      }
      // A write to what may only be read goes nowhere.
      case PLACE.GRANTED_READONLY: return readOnly(this.parts.memory, physmap.present(gfn))
      default: return undefined
    }
  }

  private inject(pvh: PvhVcpu, vector: number, errorCode?: number): void {
    const { hub } = this.parts
    const { vcpu, processor, lastTrap } = pvh
    if (hub.wants('trap-bounced')) {
      hub.emit({ type: 'trap-bounced', domid: vcpu.domid, vcpu: vcpu.vcpu, vector, errorCode: errorCode ?? 0, address: 0 })
    }
    this.parts.meter.charge(WORK.trap)
    Object.assign(lastTrap, {
      vector, errorCode: errorCode ?? 0, address: 0, rip: processor.registers.rip(),
      fromUser: (processor.registers.attributes(SEGMENT.ss) & ATTRIBUTE.DPL) !== 0,
    })
    processor.raise(vector, errorCode)
  }
}

const apicOf = ({ domain, vcpu }: PvhVcpu): LocalApic => domain.apics[vcpu.vcpu]!

/** Goes behind an instruction that was carried out here; outside of 64-bit code the pointer has 32 bits. */
function advance({ processor, isLongCode }: PvhVcpu, length: number): void {
  const rip = processor.registers.rip() + length
  const { registers } = processor
  registers.setRip(rip >>> 0, isLongCode ? Math.floor(rip / TWO_32) >>> 0 : 0)
  // Whoever goes step by step sees each of them.
  if ((registers.systemFlags() & RFLAGS.TF) === 0) return
  registers.setDebug(6, (registers.debugLow(6) | DR6.BS) >>> 0, 0)
  processor.raise(VECTOR.DB)
}

const apicDevice = (apic: LocalApic): MemoryDevice => ({
  read: (address, size) => apic.read(address & PAGE_OFFSET, size),
  write: (address, size, value) => apic.write(address & PAGE_OFFSET, size, value),
})

const readOnly = ({ view }: GuestMemory, mfn: number): MemoryDevice => ({
  read: (address, size) => {
    const at = mfn * PAGE_SIZE + (address & PAGE_OFFSET)
    if (size === 1) return view.getUint8(at)
    if (size === 2) return view.getUint16(at, true)
    return size === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true))
  },
  write: () => undefined,
})
