/**
 * vcpu_op: bringing vCPUs up and down, their timers, and the memory areas that they register.
 * Reference: public/vcpu.h; xen/common/domain.c, common_vcpu_op; xen/arch/x86/domain.c, do_vcpu_op.
 */
import {
  ERRNO, type GuestAbi, VCPUOP, VcpuGetPhysid, VcpuInfo, VcpuRegisterTimeMemoryArea, VcpuRegisterVcpuInfo, VcpuSetPeriodicTimer,
  VcpuSetSingleshotTimer,
} from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { EventChannels } from '../events/index.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HostClock } from '../time/host-clock.ts'
import { runstateBytes } from '../time/index.ts'
import type { WorkMeter } from '../time/work-meter.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { VcpuExecution } from '../execution/vcpu-execution.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { FULL, type Operations, byNumber, listed, partial } from '../domains/hypercall-rows.ts'
import { initialiseVcpu } from './vcpu-initialise.ts'
import type { FrameTypes } from '../frames/frame-types.ts'

/** What vcpu_op works on. */
export interface VcpuOpParts {
  readonly memory: GuestMemory
  readonly pageTypes: FrameTypes
  readonly execution: VcpuExecution
  readonly events: EventChannels
  readonly clock: HostClock
  readonly meter: WorkMeter
  /** Writes the vCPU's time record now. */
  updateTime(vcpu: Vcpu): void
}

/** An operation on one of the caller's domain's vCPUs, with the address of its structure. */
type Run = (caller: Vcpu, vcpu: Vcpu, address: number) => number

/** One operation. */
interface VcpuOperation {
  readonly support: Support
  readonly run: Run
}

const all = (run: Run): VcpuOperation => ({ support: FULL, run })

/** Makes the row of vcpu_op for callers of one ABI. */
export function vcpuOp(parts: VcpuOpParts, abi: GuestAbi): HypercallRow {
  const scratch = new Scratch(16)
  const rows: Operations<typeof VCPUOP, VcpuOperation> = {
    ...states(parts, abi), ...timers(parts, abi, scratch), ...areas(parts, abi, scratch),
    send_nmi: {
      support: partial('a guest in TypeScript gets none'),
      run: (_caller, vcpu, address) => {
        if (address !== 0) return -ERRNO.EINVAL
        if (vcpu.guest?.raiseNmi === undefined) return 0
        vcpu.guest.raiseNmi()
        parts.execution.wake(vcpu)
        return 0
      },
    },
    get_physid: all((caller, vcpu, address) => physicalId(caller, vcpu, { address, scratch })),
  }
  const runs = byNumber(VCPUOP, rows).map((row) => row?.run)
  return {
    name: 'vcpu_op', source: 'public/vcpu.h; do_vcpu_op, common_vcpu_op',
    handler: (caller, args) => {
      const vcpu = caller.owner.vcpus[args.low[1]!]
      if (vcpu === undefined) return -ERRNO.ENOENT
      const command = args.low[0]!
      const run = command < runs.length ? runs[command] : undefined
      return run === undefined ? -ERRNO.ENOSYS : run(caller, vcpu, args.address(2))
    },
    operations: [listed('VCPUOP_', VCPUOP, rows)],
  }
}

/** Bringing vCPUs up and down. */
function states(parts: VcpuOpParts, abi: GuestAbi) {
  const initialise = initialiseVcpu(parts.meter, abi)
  return {
    initialise: {
      support: partial('EINVAL for a guest in TypeScript, whose vCPUs have no registers'),
      run: (caller: Vcpu, vcpu: Vcpu, address: number) =>
        (vcpu.infoAddress < 0 ? -ERRNO.EINVAL : initialise(caller, vcpu, address)),
    },
    up: all((_caller, vcpu) => parts.execution.bringUp(vcpu)),
    down: all((_caller, vcpu) => {
      parts.execution.takeDown(vcpu)
      return 0
    }),
    is_up: all((_caller, vcpu) => (vcpu.online ? 1 : 0)),
    get_runstate_info: all((caller, vcpu, address) =>
      (caller.access.write(address, runstateBytes(vcpu.runstate.at(parts.clock.now()), abi)) ? 0 : -ERRNO.EFAULT)),
  }
}

/** Timers: the one-shot one is only the caller's own. */
function timers({ clock }: VcpuOpParts, abi: GuestAbi, scratch: Scratch) {
  const { view } = scratch
  const singleshot = abi.of(VcpuSetSingleshotTimer)
  return {
    set_periodic_timer: all((caller, vcpu, address) => {
      if (!readInto(caller.access, address, scratch, VcpuSetPeriodicTimer.size)) return -ERRNO.EFAULT
      return vcpu.timers.setPeriodic(VcpuSetPeriodicTimer.periodNs.number(view, 0), clock.now())
    }),
    stop_periodic_timer: all((_caller, vcpu) => vcpu.timers.stopPeriodic()),
    set_singleshot_timer: all((caller, vcpu, address) => {
      if (vcpu !== caller) return -ERRNO.EINVAL
      if (!readInto(caller.access, address, scratch, singleshot.size)) return -ERRNO.EFAULT
      return vcpu.timers.setOneShot(singleshot.timeoutAbsNs.number(view, 0), clock.now())
    }),
    stop_singleshot_timer: all((caller, vcpu) => (vcpu === caller ? vcpu.timers.stopOneShot() : -ERRNO.EINVAL)),
  }
}

/** Memory that a guest has the hypervisor write to. */
function areas(parts: VcpuOpParts, abi: GuestAbi, scratch: Scratch) {
  const { view } = scratch
  /** The area that the structure names; undefined where it cannot be read, or the guest may not name that address. */
  const areaOf = (caller: Vcpu, vcpu: Vcpu, address: number): number | undefined => {
    if (!readInto(caller.access, address, scratch, VcpuRegisterTimeMemoryArea.size)) return undefined
    const { addr } = VcpuRegisterTimeMemoryArea
    const area = signedFromParts(addr.low(view, 0), addr.high(view, 0))
    return vcpu.access.mayName(area) && abi.isAddress(area) ? area : undefined
  }
  return {
    register_vcpu_info: all((caller, vcpu, address) => {
      if (!readInto(caller.access, address, scratch, VcpuRegisterVcpuInfo.size)) return -ERRNO.EFAULT
      const frame = VcpuRegisterVcpuInfo.mfn.number(view, 0)
      return registerInfo(parts, { caller, vcpu }, { frame, offset: VcpuRegisterVcpuInfo.offset.get(view, 0) })
    }),
    register_vcpu_time_memory_area: all((caller, vcpu, address) => {
      const area = areaOf(caller, vcpu, address)
      if (area === undefined) return -ERRNO.EFAULT
      vcpu.timeArea = area
      parts.updateTime(vcpu)
      return 0
    }),
    register_runstate_memory_area: all((caller, vcpu, address) => {
      const area = areaOf(caller, vcpu, address)
      if (area === undefined) return -ERRNO.EFAULT
      vcpu.runstateArea = area
      const runstate = vcpu === caller ? vcpu.runstate.save() : vcpu.runstate.at(parts.clock.now())
      caller.access.write(area, runstateBytes(runstate, abi))
      return 0
    }),
  }
}

/** Moves a vCPU's vcpu_info into a frame of the guest's, where it stays. */
function registerInfo(
  parts: VcpuOpParts,
  { caller, vcpu }: { readonly caller: Vcpu; readonly vcpu: Vcpu },
  { frame, offset }: { readonly frame: number; readonly offset: number },
): number {
  const mfn = vcpu.owner.frameOf(frame)
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
  // Out of a structure it is a double: V8 would have all vCPUs hold such ones from now on, and throw away what is compiled for them.
  vcpu.infoFrame = mfn | 0
  // Whatever was raised while it moved is found by a guest that looks at everything.
  parts.events.of(vcpu.domid)?.remarkAll(vcpu.vcpu)
  parts.updateTime(vcpu)
  return 0
}

function physicalId(caller: Vcpu, vcpu: Vcpu, { address, scratch }: { address: number; scratch: Scratch }): number {
  if (!caller.owner.privileged) return -ERRNO.EINVAL
  VcpuGetPhysid.physId.setParts(scratch.view, 0, vcpu.vcpu * 2, vcpu.vcpu)
  return caller.access.write(address, scratch.bytes.subarray(0, VcpuGetPhysid.size)) ? 0 : -ERRNO.EFAULT
}
