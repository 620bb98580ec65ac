/**
 * The time records of vCPUs: the one in vcpu_info, and the second one that a vCPU may have registered.
 * Reference: xen/arch/x86/time.c, update_vcpu_system_time.
 */
import { PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { GuestTime, RecordedTime, TimeRecords } from '../time/index.ts'

/** Bytes of vcpu_time_info. */
const RECORD = 32

/** What it works on. */
export interface VcpuTimeParts {
  readonly timeRecords: TimeRecords
  readonly clock: HostClock
  readonly memory: Pick<GuestMemory, 'markWritten'>
  /** What domains are shown as the time; absent: the host's. */
  readonly guestTime?: GuestTime | undefined
}

/** Makes what writes a vCPU's time records now. */
export function timeWriter({ timeRecords, clock, memory, guestTime }: VcpuTimeParts): (vcpu: Vcpu) => void {
  // Written at each switch: one object, used again.
  const time: { -readonly [K in keyof RecordedTime]: RecordedTime[K] } = { now: 0, shown: 0, rate: 1, counter: undefined }
  return (vcpu) => {
    const now = clock.now()
    vcpu.timeWritten = now
    if (vcpu.infoAddress < 0) return
    time.now = now
    time.shown = guestTime === undefined ? now : guestTime.shown(vcpu.domid, now)
    time.rate = guestTime === undefined ? 1 : guestTime.rate(vcpu.domid, now)
    time.counter = vcpu.guest?.counter
    timeRecords.updateVcpu(vcpu.infoAddress, time)
    memory.markWritten(vcpu.infoAddress >>> PAGE_SHIFT)
    if (vcpu.timeArea === undefined) return
    const at = vcpu.kernelAccess.locate(vcpu.timeArea, true)
    if (at < 0 || (at & PAGE_OFFSET) > PAGE_SIZE - RECORD) return
    timeRecords.writeRecord(at, time)
    memory.markWritten(at >>> PAGE_SHIFT)
  }
}
