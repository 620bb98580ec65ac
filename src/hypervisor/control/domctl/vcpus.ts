/**
 * Operations of domctl on vCPUs: their registers, extended state and model-specific registers, what they do, and triggers.
 * Reference: xen/common/domctl.c; xen/arch/x86/domctl.c, arch_do_domctl.
 */
import {
  DomctlExtVcpucontext, DomctlGdbsxDomstatus, DomctlGdbsxPauseunpVcpu, DomctlGetvcpuinfo, DomctlSendtrigger, DomctlVcpuMsr, DomctlVcpuMsrs,
  DomctlVcpucontext, DomctlVcpuextstate, ERRNO, NATIVE, SENDTRIGGER,
} from '../../../abi/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { MACHINE_CHECK_BANKS } from '../../identity.ts'
import type { MsrEntry } from '../../domains/cpu-policy.ts'
import { vcpuContextCodec } from '../../domains/vcpu-context-codec.ts'
import { Scratch } from '../../memory/guest-access.ts'
import { CALL_AGAIN, WORK } from '../../time/work-meter.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { answering, silent } from '../binary/control-call.ts'
import { describeVcpu } from '../core/info.ts'
import { DOMCTL_ARGUMENT, type DomctlCall, type DomctlParts, ofOthers } from './domctl-call.ts'

/** Registers that are saved with a vCPU, on any processor. */
const SAVED_MSRS = 7
/** XCR0 and all bits that it ever had, before the area; the area without AVX, and with it. */
const [STATE_HEADER, LEGACY_AREA, AREA_WITH_AVX] = [16, 576, 832] as const
const AVX = 4

/** The codec of a domain's contexts; a translated domain's are those of 64-bit guests. */
const codecOf = ({ domain }: DomctlCall) => vcpuContextCodec(domain.guest === undefined ? domain.kind.abi ?? NATIVE : NATIVE)

function setContext({ vcpus, meter }: DomctlParts, call: DomctlCall): number {
  const vcpu = call.vcpu(DomctlVcpucontext.vcpu.get(call.view, DOMCTL_ARGUMENT))
  if (vcpu === undefined || call.isNull(DomctlVcpucontext.ctxt, DOMCTL_ARGUMENT)) return -ERRNO.EINVAL
  const codec = codecOf(call)
  const bytes = new Scratch(codec.size)
  const result = call.read(call.address(DomctlVcpucontext.ctxt, DOMCTL_ARGUMENT), bytes.bytes) || vcpus.prepare(vcpu)
  if (result < 0) return result
  meter.charge(WORK.context)
  return vcpus.setContext(vcpu, codec.decode(bytes.view, 0))
}

function getContext({ vcpus, meter }: DomctlParts, call: DomctlCall): number {
  const vcpu = call.vcpu(DomctlVcpucontext.vcpu.get(call.view, DOMCTL_ARGUMENT))
  if (vcpu === undefined || vcpu === call.caller) return -ERRNO.EINVAL
  if (!vcpu.initialised) return -ERRNO.ENODATA
  const context = vcpus.context(vcpu)
  if (typeof context === 'number') return context
  const codec = codecOf(call)
  const bytes = new Scratch(codec.size)
  codec.encode(context, bytes.view, 0)
  meter.charge(WORK.context)
  return call.write(call.address(DomctlVcpucontext.ctxt, DOMCTL_ARGUMENT), bytes.bytes)
}

function getInfo({ clock, scheduling }: DomctlParts, call: DomctlCall): number {
  const { view } = call
  const op = DomctlGetvcpuinfo
  const index = op.vcpu.get(view, DOMCTL_ARGUMENT)
  if (index >= call.domain.vcpuCount) return -ERRNO.EINVAL
  const vcpu = call.vcpu(index)
  if (vcpu === undefined) return -ERRNO.ESRCH
  const { online, blocked, running, cpuTime, cpu } = describeVcpu(vcpu, clock.now())
  const { hard } = scheduling.affinity(vcpu)
  op.online.set(view, DOMCTL_ARGUMENT, Number(online))
  op.blocked.set(view, DOMCTL_ARGUMENT, Number(blocked))
  op.running.set(view, DOMCTL_ARGUMENT, Number(running))
  op.cpuTime.setNumber(view, DOMCTL_ARGUMENT, Math.floor(cpuTime))
  // One that has not run stands where it will.
  op.cpu.set(view, DOMCTL_ARGUMENT, hard.length === 0 || hard.includes(cpu) ? cpu : hard[0]!)
  return 0
}

/** A vCPU of a PV domain whose registers are to be got or set: -ESRCH, -EINVAL. */
function otherVcpu(call: DomctlCall, index: number): Vcpu | number {
  const vcpu = call.vcpu(index)
  if (vcpu === undefined) return -ERRNO.ESRCH
  return vcpu === call.caller ? -ERRNO.EINVAL : vcpu
}

/** Bytes of extended state with these parts of it. */
const stateBytes = (parts: number): number => STATE_HEADER + (parts === 0 ? 0 : (parts & AVX) === 0 ? LEGACY_AREA : AREA_WITH_AVX)

function getState({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { view } = call
  const op = DomctlVcpuextstate
  const vcpu = otherVcpu(call, op.vcpu.get(view, DOMCTL_ARGUMENT))
  if (typeof vcpu === 'number') return vcpu
  const result = vcpus.prepare(vcpu)
  if (result < 0) return result
  const offered = Math.max(0, vcpus.offeredState(vcpu))
  const isQuery = (op.bufferSize.number(view, DOMCTL_ARGUMENT) === 0 && op.xfeatureMask.number(view, DOMCTL_ARGUMENT) === 0) || call.isNull(op.buffer, DOMCTL_ARGUMENT)
  if (isQuery) {
    op.xfeatureMask.setNumber(view, DOMCTL_ARGUMENT, offered)
    op.bufferSize.setNumber(view, DOMCTL_ARGUMENT, stateBytes(offered))
    return 0
  }
  const state = vcpus.extendedState(vcpu)
  if (typeof state === 'number') return state
  if (op.bufferSize.number(view, DOMCTL_ARGUMENT) < state.length || op.xfeatureMask.number(view, DOMCTL_ARGUMENT) !== offered) return -ERRNO.EINVAL
  op.bufferSize.setNumber(view, DOMCTL_ARGUMENT, state.length)
  return call.write(call.address(op.buffer, DOMCTL_ARGUMENT), state)
}

function setState({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { view } = call
  const op = DomctlVcpuextstate
  const vcpu = otherVcpu(call, op.vcpu.get(view, DOMCTL_ARGUMENT))
  if (typeof vcpu === 'number') return vcpu
  const prepared = vcpus.prepare(vcpu)
  if (prepared < 0) return prepared
  const size = op.bufferSize.number(view, DOMCTL_ARGUMENT)
  if (size < STATE_HEADER || size > stateBytes(Math.max(0, vcpus.offeredState(vcpu)))) return -ERRNO.EINVAL
  const bytes = new Uint8Array(size)
  return call.read(call.address(op.buffer, DOMCTL_ARGUMENT), bytes) || vcpus.setExtendedState(vcpu, bytes)
}

function getMsrs({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { view, domain } = call
  const op = DomctlVcpuMsrs
  const vcpu = otherVcpu(call, op.vcpu.get(view, DOMCTL_ARGUMENT))
  if (typeof vcpu === 'number') return vcpu
  if (domain.guest !== undefined) return -ERRNO.EINVAL
  if (call.isNull(op.msrs, DOMCTL_ARGUMENT)) {
    op.msrCount.set(view, DOMCTL_ARGUMENT, SAVED_MSRS)
    return 0
  }
  const found = vcpus.msrs(vcpu)
  if (typeof found === 'number') return found
  const room = op.msrCount.get(view, DOMCTL_ARGUMENT)
  const bytes = new Scratch(Math.min(room, found.length) * DomctlVcpuMsr.size)
  found.slice(0, room).forEach(({ index, value }, i) => DomctlVcpuMsr.encode(bytes.view, i * DomctlVcpuMsr.size, { index, value }))
  op.msrCount.set(view, DOMCTL_ARGUMENT, found.length)
  call.answers = true
  return call.write(call.address(op.msrs, DOMCTL_ARGUMENT), bytes.bytes) || (found.length > room ? -ERRNO.ENOBUFS : 0)
}

function setMsrs({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { view, domain } = call
  const op = DomctlVcpuMsrs
  const vcpu = otherVcpu(call, op.vcpu.get(view, DOMCTL_ARGUMENT))
  if (typeof vcpu === 'number') return vcpu
  const count = op.msrCount.get(view, DOMCTL_ARGUMENT)
  if (domain.guest !== undefined || count > SAVED_MSRS) return -ERRNO.EINVAL
  const prepared = vcpus.prepare(vcpu)
  if (prepared < 0) return prepared
  const bytes = new Scratch(count * DomctlVcpuMsr.size)
  if (call.read(call.address(op.msrs, DOMCTL_ARGUMENT), bytes.bytes) < 0) return -ERRNO.EFAULT
  const entries = Array.from({ length: count }, (_, i): MsrEntry => {
    const { index, value } = DomctlVcpuMsr.decode(bytes.view, i * DomctlVcpuMsr.size)
    return { index, value }
  })
  const refused = vcpus.firstRefused(entries)
  if (refused < 0) return vcpus.setMsrs(vcpu, entries)
  op.msrCount.set(view, DOMCTL_ARGUMENT, refused)
  call.answers = true
  return -ERRNO.EINVAL
}

function getEntries({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { view } = call
  const op = DomctlExtVcpucontext
  const vcpu = otherVcpu(call, op.vcpu.get(view, DOMCTL_ARGUMENT))
  if (typeof vcpu === 'number') return vcpu
  const { syscall32, sysenter } = vcpus.entries(vcpu) ?? {}
  op.encode(view, DOMCTL_ARGUMENT, {
    structSize: op.size, syscall32CallbackEip: syscall32?.address ?? 0n, sysenterCallbackEip: sysenter?.address ?? 0n,
    syscall32CallbackCs: syscall32?.selector ?? 0, sysenterCallbackCs: sysenter?.selector ?? 0,
    syscall32DisablesEvents: Number(syscall32?.masksEvents ?? false), sysenterDisablesEvents: Number(sysenter?.masksEvents ?? false), mcgCap: BigInt(MACHINE_CHECK_BANKS),
  })
  new Uint8Array(view.buffer, DOMCTL_ARGUMENT + op.mcgCap.offset + op.mcgCap.size, op.size - op.mcgCap.offset - op.mcgCap.size).fill(0)
  return 0
}

function setEntries({ vcpus }: DomctlParts, call: DomctlCall): number {
  const op = DomctlExtVcpucontext
  const argument = op.decode(call.view, DOMCTL_ARGUMENT)
  const vcpu = call.vcpu(argument.vcpu)
  if (vcpu === undefined) return -ERRNO.ESRCH
  if (argument.structSize < op.mcgCap.offset) return -ERRNO.EINVAL
  const prepared = vcpus.prepare(vcpu)
  if (prepared < 0) return prepared
  const result = vcpus.setEntries(vcpu, {
    syscall32: { address: argument.syscall32CallbackEip, selector: argument.syscall32CallbackCs, masksEvents: argument.syscall32DisablesEvents !== 0 },
    sysenter: { address: argument.sysenterCallbackEip, selector: argument.sysenterCallbackCs, masksEvents: argument.sysenterDisablesEvents !== 0 },
  })
  return result === -ERRNO.EOPNOTSUPP ? 0 : result
}

function sendTrigger({ vcpus }: DomctlParts, call: DomctlCall): number {
  const vcpu = call.vcpu(DomctlSendtrigger.vcpu.get(call.view, DOMCTL_ARGUMENT))
  if (vcpu === undefined) return -ERRNO.ESRCH
  switch (DomctlSendtrigger.trigger.get(call.view, DOMCTL_ARGUMENT)) {
    case SENDTRIGGER.NMI: return Math.min(0, vcpus.sendNmi(vcpu))
    case SENDTRIGGER.POWER:
    case SENDTRIGGER.SLEEP: return call.domain.guest === undefined ? -ERRNO.EINVAL : 0
    default: return -ERRNO.ENOSYS
  }
}

/** A debugger's pauses of single vCPUs, while the whole domain is paused. */
function debuggedVcpu(call: DomctlCall): number {
  if (call.domain.pauseCount === 0) return -ERRNO.EBUSY
  return call.vcpu(DomctlGdbsxPauseunpVcpu.vcpu.get(call.view, DOMCTL_ARGUMENT)) === undefined ? -ERRNO.EINVAL : 0
}

/** The operations, by the names of their numbers. */
export function vcpuOperations(parts: DomctlParts) {
  const noPause = partial('the domain as a whole is paused, and its vCPUs are not paused one by one')
  return {
    setvcpucontext: silent(ofOthers((call) => {
      const result = setContext(parts, call)
      return result === CALL_AGAIN ? result : Math.min(0, result)
    }), partial('a null handle, by which Xen resets a vCPU, is EINVAL')),
    getvcpucontext: answering((call: DomctlCall) => getContext(parts, call)),
    getvcpuinfo: answering((call: DomctlCall) => getInfo(parts, call)),
    setvcpuextstate: silent((call: DomctlCall) => setState(parts, call)),
    getvcpuextstate: answering((call: DomctlCall) => getState(parts, call)),
    set_vcpu_msrs: silent((call: DomctlCall) => setMsrs(parts, call), partial('MSR_TSC_AUX alone is there to be set')),
    get_vcpu_msrs: answering((call: DomctlCall) => getMsrs(parts, call)),
    set_ext_vcpucontext: silent(ofOthers((call) => setEntries(parts, call)), partial('machine-check banks of guests have no state')),
    get_ext_vcpucontext: answering((call: DomctlCall) => getEntries(parts, call), partial('machine-check banks of guests have no state')),
    sendtrigger: silent((call: DomctlCall) => sendTrigger(parts, call), partial('a translated guest has no power button: nothing happens')),
    gdbsx_pausevcpu: silent(debuggedVcpu, noPause),
    gdbsx_unpausevcpu: silent(debuggedVcpu, noPause),
    gdbsx_domstatus: answering(({ domain, view }: DomctlCall) => {
      DomctlGdbsxDomstatus.encode(view, DOMCTL_ARGUMENT, { paused: Number(domain.pauseCount > 0), vcpuId: 0xffff_ffff, vcpuEv: 0 })
      return 0
    }, partial('no vCPU stops for a debugger: none is ever named')),
  }
}
