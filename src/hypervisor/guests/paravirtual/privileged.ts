/**
 * Instructions that a PV guest may not execute, and what the hypervisor does in their place: some get their meaning, I/O
 * finds the devices that the machine has for a privileged domain, the others fault as #GP. Interrupt flags have no meaning; the guest masks events instead.
 * Reference: xen/arch/x86/pv/emul-priv-op.c.
 */
import { VMASST_TYPE } from '../../../abi/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import { CPUID_BITS, CR0, CR4, type CpuidAnswer, GPR, PAGE_SHIFT, VECTOR } from '../../../x86/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'
import { type MachineDevices, readPort, writePort } from '../../devices/machine-ports.ts'
import type { PrivilegedOperation } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { CpuidReader } from '../../domains/domain-kind.ts'
import { type CpuidQuestion, type CpuidSubject, queryCpuid } from '../processors/cpuid.ts'
import { setXcr0 } from '../processors/extended-state.ts'
import { type MsrHost, readMsr, writeMsr } from './msr.ts'
import { setDebugRegister, setTaskSwitched } from './debug-registers.ts'
import { type ParavirtualVcpu, setEntry } from './paravirtual-vcpu.ts'

/** What emulation asks of the hypervisor around it. */
export interface PrivilegedHost extends MsrHost, CpuidSubject {
  /** Makes a frame the top-level table of the vCPU's kernel: 0, a negative error number, or CALL_AGAIN. */
  setKernelTable(vcpu: Vcpu, mfn: number): number
  /** What is behind I/O ports. */
  readonly devices: MachineDevices
}

/** CR0 as every PV guest sees it, but for TS. */
const GUEST_CR0 = (CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG) >>> 0
/**
 * CR4 bits that a guest may choose, which the processor then has too, and those of the hypervisor's that it sees. What else
 * it writes is dropped without a word.
 * Reference: xen/arch/x86/include/asm/pv/domain.h, PV_CR4_GUEST_MASK; pv/domain.c, pv_fixup_guest_cr4, pv_make_cr4.
 */
const CR4_CHOICE = CR4.TSD | CR4.DE | CR4.FSGSBASE
/** Chosen too where CPUID tells of XSAVE; the processor's own stays on, as the hypervisor uses it. */
const XSAVE = 1 << CPUID_BITS.leaf1Ecx.xsave
const CR4_ALWAYS = CR4.PAE | CR4.MCE | CR4.OSFXSR | CR4.OSXMMEXCPT
/** `ud2a; .ascii "xen"; cpuid`: the prefix by which a guest asks for the hypervisor's CPUID. */
const FORCED_CPUID = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2] as const

/** Carries out privileged instructions. True: done, rip is behind it. False: it is to fault. */
export class PrivilegedOperations {
  private readonly host: PrivilegedHost
  private readonly value = new Uint32Array(2)
  private readonly scratch = new Scratch(8)
  /** The last instruction that was not carried out has only paused: it is to be executed again. */
  hasPaused = false
  /** What the last instruction that was not carried out raises. */
  fault: number = VECTOR.GP

  constructor(host: PrivilegedHost) {
    this.host = host
  }

  /** One decoded instruction of the vCPU's. */
  emulate(vcpu: Vcpu, pv: ParavirtualVcpu, request: PrivilegedOperation): boolean {
    this.hasPaused = false
    this.fault = VECTOR.GP
    if (!this.carryOut(vcpu, pv, request)) return false
    this.advance(pv, request.length)
    return true
  }

  /** An undefined instruction: true when it was the forced form of CPUID. */
  emulateForced(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
    const { bytes } = this.scratch
    if (!readInto(vcpu.access, pv.processor.registers.rip(), this.scratch, FORCED_CPUID.length)) return false
    if (FORCED_CPUID.some((byte, i) => bytes[i] !== byte)) return false
    this.cpuid(vcpu, pv, 'forced')
    this.advance(pv, FORCED_CPUID.length)
    return true
  }

  private advance(pv: ParavirtualVcpu, length: number): void {
    const rip = pv.processor.registers.rip() + length
    pv.processor.registers.setRip(rip >>> 0, Math.floor(rip / 0x1_0000_0000) >>> 0)
  }

  private carryOut(vcpu: Vcpu, pv: ParavirtualVcpu, request: PrivilegedOperation): boolean {
    switch (request.operation) {
      case 'cpuid':
        this.cpuid(vcpu, pv, 'native')
        return true
      case 'rdtsc':
        return this.rdtsc(vcpu, pv)
      case 'rdtscp':
        return this.rdtscp(vcpu, pv)
      case 'rdmsr':
        return pv.inKernel && this.rdmsr(vcpu, pv)
      case 'wrmsr':
        return pv.inKernel && this.wrmsr(vcpu, pv)
      case 'read-cr': return pv.inKernel && this.readControl(pv, request)
      case 'xsetbv': return this.setExtended(vcpu, pv)
      case 'write-cr': return pv.inKernel && this.writeControl(vcpu, pv, request)
      case 'read-dr': return pv.inKernel && this.readDebug(pv, request)
      case 'write-dr': return pv.inKernel && this.writeDebug(pv, request)
      case 'clts':
        if (pv.inKernel) setTaskSwitched(pv, false)
        return pv.inKernel
      // Caches are coherent.
      case 'wbinvd': return pv.inKernel
      // Ignored where the I/O privilege level would allow it: events are masked in vcpu_info, not here.
      case 'cli':
      case 'sti':
        return mayUsePorts(vcpu, pv)
      case 'in':
      case 'out':
        return this.port(vcpu, pv, request)
      default: return false
    }
  }

  /** What CPUID tells the vCPU; without `own` as if its domain had come with no policy. */
  query(pv: { readonly processor: CpuidReader }, question: CpuidQuestion): CpuidAnswer {
    return queryCpuid(question, this.host, pv.processor)
  }

  /** Bits of XCR0 that the vCPU's domain is offered. */
  offeredState(vcpu: Vcpu, pv: ParavirtualVcpu): number {
    return this.query(pv, { leaf: 0xd, subleaf: 0, own: vcpu.owner.cpuPolicy })[0]
  }

  /** Sets the guest's CR4, as far as it may choose. */
  setCr4(vcpu: Vcpu, pv: ParavirtualVcpu, low: number): void {
    const hasXsave = (this.query(pv, { leaf: 1, subleaf: 0, own: vcpu.owner.cpuPolicy })[2] & XSAVE) !== 0
    const chosen = low & (hasXsave ? CR4_CHOICE | CR4.OSXSAVE : CR4_CHOICE)
    setEntry(pv.cr4, chosen | CR4_ALWAYS, 0)
    const { registers } = pv.processor
    const real = registers.controlLow(4)
    registers.setControl(4, ((real & ~CR4_CHOICE) | (chosen & CR4_CHOICE)) >>> 0, 0)
  }

  private setExtended(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
    if ((pv.cr4.low & CR4.OSXSAVE) === 0) {
      this.fault = VECTOR.UD
      return false
    }
    const { registers } = pv.processor
    if (!pv.inKernel || registers.low(GPR.rcx) !== 0) return false
    return setXcr0(pv, { low: registers.low(GPR.rax), high: registers.low(GPR.rdx) }, this.offeredState(vcpu, pv))
  }

  /** A kernel that asks by the forced form sees the hypervisor's own use of XSAVE: guests have come to rely on it. */
  private cpuid(vcpu: Vcpu, pv: ParavirtualVcpu, how: 'native' | 'forced'): void {
    const { registers } = pv.processor
    const [leaf, subleaf] = [registers.low(GPR.rax), registers.low(GPR.rcx)]
    const isLeaked = how === 'forced' && pv.inKernel && (registers.controlLow(4) & CR4.OSXSAVE) !== 0
    const isXsaveOn = isLeaked || (pv.cr4.low & CR4.OSXSAVE) !== 0
    const answer = this.query(pv, { leaf, subleaf, own: vcpu.owner.cpuPolicy, now: { isXsaveOn }, time: vcpu.owner.tsc.facts })
    registers.set(GPR.rax, answer[0], 0)
    registers.set(GPR.rbx, answer[1], 0)
    registers.set(GPR.rcx, answer[2], 0)
    registers.set(GPR.rdx, answer[3], 0)
  }

  private rdtsc(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
    if (!pv.inKernel && (pv.cr4.low & CR4.TSD) !== 0) return false
    const { low, high } = this.host.timestamp(vcpu)
    pv.processor.registers.set(GPR.rax, low, 0)
    pv.processor.registers.set(GPR.rdx, high, 0)
    return true
  }

  private rdtscp(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
    if (!this.rdtsc(vcpu, pv)) return false
    const { registers } = pv.processor
    registers.set(GPR.rcx, registers.tscAux(), 0)
    return true
  }

  private rdmsr(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
    const { registers } = pv.processor
    const register = registers.low(GPR.rcx)
    if (!readMsr(this.host, pv, { register, vcpu }, this.value)) {
      // A kernel that cannot take the fault yet reads zero.
      if (pv.trapLow[13] !== 0 || pv.trapHigh[13] !== 0 || register >>> 16 === 0x4000) return false
      this.value.fill(0)
    }
    registers.set(GPR.rax, this.value[0]!, 0)
    registers.set(GPR.rdx, this.value[1]!, 0)
    return true
  }

  private wrmsr(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
    const { registers } = pv.processor
    const value = { low: registers.low(GPR.rax), high: registers.low(GPR.rdx) }
    return writeMsr(this.host, pv, { register: registers.low(GPR.rcx), domid: vcpu.domid }, value)
  }

  private readControl(pv: ParavirtualVcpu, request: PrivilegedOperation): boolean {
    const { registers } = pv.processor
    const { general } = request
    switch (request.register) {
      case 0:
        registers.set(general, (GUEST_CR0 | (pv.taskSwitched ? CR0.TS : 0)) >>> 0, 0)
        return true
      case 2:
        registers.set(general, pv.cr2.low, pv.cr2.high)
        return true
      case 3:
        registers.set(general, (pv.topTable << PAGE_SHIFT) >>> 0, pv.topTable >>> 20)
        return true
      case 4:
        registers.set(general, pv.cr4.low, 0)
        return true
      default: return false
    }
  }

  private writeControl(vcpu: Vcpu, pv: ParavirtualVcpu, request: PrivilegedOperation): boolean {
    const { registers } = pv.processor
    const low = registers.low(request.general)
    const high = registers.high(request.general)
    switch (request.register) {
      case 0:
        if (high !== 0 || ((low ^ GUEST_CR0) & ~CR0.TS) !== 0) return false
        setTaskSwitched(pv, (low & CR0.TS) !== 0)
        return true
      case 2:
        setEntry(pv.cr2, low, high)
        return true
      case 3:
        return high < 0x100 && this.switchTable(vcpu, low >>> PAGE_SHIFT | high << 20)
      case 4:
        this.setCr4(vcpu, pv, low)
        return true
      default: return false
    }
  }

  private switchTable(vcpu: Vcpu, mfn: number): boolean {
    const result = this.host.setKernelTable(vcpu, mfn)
    this.hasPaused = result === CALL_AGAIN
    return result === 0
  }

  private readDebug(pv: ParavirtualVcpu, { register, general }: PrivilegedOperation): boolean {
    const actual = register === 4 || register === 5 ? register + 2 : register
    if (actual !== register && (pv.cr4.low & CR4.DE) !== 0) return false
    const { registers } = pv.processor
    registers.set(general, registers.debugLow(actual), registers.debugHigh(actual))
    return true
  }

  private writeDebug(pv: ParavirtualVcpu, { register, general }: PrivilegedOperation): boolean {
    const { registers } = pv.processor
    return setDebugRegister(pv, register, registers.low(general), registers.high(general)) === 0
  }

  private port(vcpu: Vcpu, pv: ParavirtualVcpu, request: PrivilegedOperation): boolean {
    if (!mayUsePorts(vcpu, pv) && !this.isInBitmap(vcpu, pv, request)) return false
    const { registers } = pv.processor
    const { port, size } = request
    const before = registers.low(GPR.rax)
    const kept = size === 4 ? 0 : -1 << (8 * size)
    if (request.operation === 'out') writePort(this.host.devices, vcpu.owner, { port, size, value: before & ~kept })
    else registers.set(GPR.rax, ((before & kept) | readPort(this.host.devices, vcpu.owner, { port, size })) >>> 0, size === 4 ? 0 : registers.high(GPR.rax))
    return true
  }

  private isInBitmap(vcpu: Vcpu, pv: ParavirtualVcpu, { port, size }: PrivilegedOperation): boolean {
    if (port + size > pv.ioBitmapLimit) return false
    const address = signedFromParts(pv.ioBitmap.low, pv.ioBitmap.high) + (port >>> 3)
    const { bytes } = this.scratch
    if (!vcpu.kernelAccess.read(address, bytes.subarray(0, 2))) return false
    return (((bytes[0]! | (bytes[1]! << 8)) >>> (port & 7)) & ((1 << size) - 1)) === 0
  }
}

/** The guest's I/O privilege level against its mode: a kernel counts as ring 1 unless it keeps the real level. */
function mayUsePorts(vcpu: Vcpu, pv: ParavirtualVcpu): boolean {
  const kernelLevel = vcpu.owner.hasAssist(VMASST_TYPE.architectural_iopl) ? 0 : 1
  return (pv.inKernel ? kernelLevel : 3) << 12 <= pv.iopl
}

