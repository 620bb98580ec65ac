/** What whoever interferes may ask of a hypervisor, over the parts that do it. */
import { signedFromParts } from '../../util/index.ts'
import type { DomId } from '../../util/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { VcpuExecution } from '../execution/vcpu-execution.ts'
import type { GrantTables } from '../grants/index.ts'
import type { InterferenceSeat } from '../interference.ts'
import { Scratch } from '../memory/guest-access.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { TimerQueue } from '../time/index.ts'

/** The parts. */
export interface SeatParts {
  readonly clock: HostClock
  readonly timers: TimerQueue
  readonly domains: DomainRegistry
  readonly execution: VcpuExecution
  readonly grants: GrantTables<Vcpu>
  updateTime(vcpu: Vcpu): void
}

/** Words of the stack that are looked at: the return addresses of a deep call lie further up. */
const STACK_WORDS = 128

const signed = (value: bigint): number => signedFromParts(Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn))

function addressesOf(vcpu: Vcpu | undefined): readonly number[] {
  const context = vcpu?.initialised === true ? vcpu.guest?.context : undefined
  if (vcpu === undefined || context === undefined) return []
  const { rip, rsp } = context.crashRegisters().registers
  const found = [signed(rip)]
  const word = new Scratch(8)
  for (let place = 0; place < STACK_WORDS; place += 1) {
    if (!vcpu.kernelAccess.read(signed(rsp) + place * 8, word.bytes)) break
    found.push(signed(word.view.getBigUint64(0, true)))
  }
  return found
}

/** Makes the seat of one hypervisor. */
export function interferenceSeat({ clock, timers, domains, execution, grants, updateTime }: SeatParts): InterferenceSeat {
  const vcpusOf = (domid: number): readonly Vcpu[] => domains.get(domid as DomId)?.vcpus ?? []
  return {
    now: () => clock.now(),
    at: (time, act) => timers.set(timers.create(act), time),
    pauseVcpu: (domid, number) => {
      const vcpu = vcpusOf(domid)[number]
      if (vcpu === undefined) return undefined
      vcpu.pauseCount += 1
      execution.update(vcpu)
      let isPaused = true
      return () => {
        if (!isPaused) return
        isPaused = false
        vcpu.pauseCount -= 1
        execution.update(vcpu)
      }
    },
    renewTime: (domid, moved) => {
      for (const vcpu of vcpusOf(domid)) {
        updateTime(vcpu)
        vcpu.timers.move(moved)
        vcpu.guest?.moveTimers?.(moved)
      }
    },
    grantedFrame: (domid, ref) => {
      const table = grants.of(domid)
      if (table === undefined || table.retired || ref >= table.entryCount) return undefined
      const frame = table.machineFrame(table.frameOf(ref))
      return frame > 0 ? frame : undefined
    },
    addresses: (domid, vcpu) => addressesOf(vcpusOf(domid)[vcpu]),
  }
}
