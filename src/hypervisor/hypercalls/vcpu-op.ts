/**
 * vcpu_op: bringing vCPUs up and down, their timers, and the memory areas that they register.
 * Reference: public/vcpu.h; xen/common/domain.c, common_vcpu_op; xen/arch/x86/domain.c, do_vcpu_op.
 */
import {
  ERRNO, VCPUOP, VcpuGetPhysid, VcpuInfo, VcpuRegisterRunstateMemoryArea, VcpuRegisterTimeMemoryArea,
  VcpuRegisterVcpuInfo, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
} from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { EventChannels } from '../events/index.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { isGuestAddress } from '../memory/guest-address.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HostClock } from '../time/host-clock.ts'
import { runstateBytes } from '../time/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { VcpuExecution } from '../execution/vcpu-execution.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'
import type { WritableFrames } from './writable-frames.ts'

/** What vcpu_op works on. */
export interface VcpuOpParts {
  readonly memory: GuestMemory
  readonly pageTypes: WritableFrames
  readonly execution: VcpuExecution
  readonly events: EventChannels
  readonly clock: HostClock
  /** Gives an offline vCPU the registers at a guest address of the caller's: 0 or a negative error number. */
  initialise(caller: Vcpu, vcpu: Vcpu, address: number): number
  /** Writes the vCPU's time record now. */
  updateTime(vcpu: Vcpu): void
}

/** Makes the handler of vcpu_op. */
export function vcpuOp(parts: VcpuOpParts): HypercallHandler {
  const scratch = new Scratch(16)
  return (caller, args) => {
    const vcpu = caller.owner.vcpus[args.u32(1)]
    if (vcpu === undefined) return -ERRNO.ENOENT
    const command = args.u32(0)
    const address = args.address(2)
    switch (command) {
      case VCPUOP.initialise: return vcpu.infoAddress < 0 ? -ERRNO.EINVAL : parts.initialise(caller, vcpu, address)
      case VCPUOP.up: return parts.execution.bringUp(vcpu)
      case VCPUOP.down:
        parts.execution.takeDown(vcpu)
        return 0
      case VCPUOP.is_up: return vcpu.online ? 1 : 0
      case VCPUOP.get_runstate_info: {
        const bytes = runstateBytes(vcpu.runstate.at(parts.clock.now()))
        return caller.access.write(address, bytes) ? 0 : -ERRNO.EFAULT
      }
      case VCPUOP.register_vcpu_info:
      case VCPUOP.register_runstate_memory_area:
      case VCPUOP.register_vcpu_time_memory_area:
        return register(parts, { caller, vcpu, command, address, scratch })
      case VCPUOP.send_nmi: return sendNmi(parts, vcpu, address)
      case VCPUOP.get_physid: return physicalId(caller, vcpu, { address, scratch })
      default: return timer(parts, { caller, vcpu, command, address, scratch })
    }
  }
}

interface Call {
  readonly caller: Vcpu
  readonly vcpu: Vcpu
  readonly command: number
  readonly address: number
  readonly scratch: Scratch
}

function timer(parts: VcpuOpParts, { caller, vcpu, command, address, scratch }: Call): number {
  const now = parts.clock.now()
  switch (command) {
    case VCPUOP.set_periodic_timer:
      if (!readInto(caller.access, address, scratch, VcpuSetPeriodicTimer.size)) return -ERRNO.EFAULT
      return vcpu.timers.setPeriodic(VcpuSetPeriodicTimer.periodNs.number(scratch.view, 0), now)
    case VCPUOP.stop_periodic_timer: return vcpu.timers.stopPeriodic()
    case VCPUOP.set_singleshot_timer:
      if (vcpu !== caller) return -ERRNO.EINVAL
      if (!readInto(caller.access, address, scratch, VcpuSetSingleshotTimer.size)) return -ERRNO.EFAULT
      return vcpu.timers.setOneShot(VcpuSetSingleshotTimer.timeoutAbsNs.number(scratch.view, 0), now)
    case VCPUOP.stop_singleshot_timer: return vcpu === caller ? vcpu.timers.stopOneShot() : -ERRNO.EINVAL
    default: return -ERRNO.ENOSYS
  }
}

function register(parts: VcpuOpParts, { caller, vcpu, command, address, scratch }: Call): number {
  const { view } = scratch
  if (command === VCPUOP.register_vcpu_info) {
    if (!readInto(caller.access, address, scratch, VcpuRegisterVcpuInfo.size)) return -ERRNO.EFAULT
    const mfn = VcpuRegisterVcpuInfo.mfn.number(view, 0)
    return registerInfo(parts, caller, vcpu, { mfn, offset: VcpuRegisterVcpuInfo.offset.get(view, 0) })
  }
  const size = VcpuRegisterRunstateMemoryArea.size
  if (!readInto(caller.access, address, scratch, size)) return -ERRNO.EFAULT
  const area = signedFromParts(
    VcpuRegisterTimeMemoryArea.addr.low(view, 0), VcpuRegisterTimeMemoryArea.addr.high(view, 0),
  )
  if (vcpu.pv !== undefined && !isGuestAddress(area)) return -ERRNO.EFAULT
  if (command === VCPUOP.register_vcpu_time_memory_area) {
    vcpu.timeArea = area
    parts.updateTime(vcpu)
    return 0
  }
  vcpu.runstateArea = area
  caller.access.write(area, runstateBytes(vcpu === caller ? vcpu.runstate.save() : vcpu.runstate.at(parts.clock.now())))
  return 0
}

/** Moves a vCPU's vcpu_info into a frame of the guest's, where it stays. */
function registerInfo(
  parts: VcpuOpParts,
  caller: Vcpu,
  vcpu: Vcpu,
  place: { readonly mfn: number; readonly offset: number },
): number {
  const { mfn, offset } = place
  if (offset > PAGE_SIZE - VcpuInfo.size || (offset & 7) !== 0) return -ERRNO.ENXIO
  if (vcpu.infoFrame >= 0 || (vcpu !== caller && vcpu.online)) return -ERRNO.EINVAL
  if (parts.pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, vcpu.domid) !== 0) return -ERRNO.EINVAL
  const { bytes, view } = parts.memory
  const target = mfn * PAGE_SIZE + offset
  if (vcpu.infoAddress >= 0) bytes.copyWithin(target, vcpu.infoAddress, vcpu.infoAddress + VcpuInfo.size)
  else {
    bytes.fill(0, target, target + VcpuInfo.size)
    VcpuInfo.evtchnUpcallMask.set(view, target, 1)
  }
  parts.memory.markWritten(mfn)
  vcpu.infoAddress = target
  vcpu.infoFrame = mfn
  // Whatever was raised while it moved is found by a guest that looks at everything.
  parts.events.of(vcpu.domid)?.remarkAll(vcpu.vcpu)
  parts.updateTime(vcpu)
  return 0
}

function sendNmi(parts: VcpuOpParts, vcpu: Vcpu, address: number): number {
  if (address !== 0) return -ERRNO.EINVAL
  if (vcpu.pv !== undefined) {
    vcpu.pv.nmiPending = true
    parts.execution.wake(vcpu)
  }
  return 0
}

function physicalId(caller: Vcpu, vcpu: Vcpu, { address, scratch }: { address: number; scratch: Scratch }): number {
  if (!caller.owner.privileged) return -ERRNO.EINVAL
  VcpuGetPhysid.physId.setParts(scratch.view, 0, vcpu.vcpu * 2, vcpu.vcpu)
  return caller.access.write(address, scratch.bytes.subarray(0, VcpuGetPhysid.size)) ? 0 : -ERRNO.EFAULT
}
