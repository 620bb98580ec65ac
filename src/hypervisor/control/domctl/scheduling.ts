/**
 * Operations of domctl on where vCPUs run and how much: affinities, weights and caps, budgets.
 * Reference: xen/common/sched/core.c, vcpu_affinity_domctl, sched_adjust; csched2_dom_cntl, csched_dom_cntl, rt_dom_cntl.
 */
import {
  DOMCTL_SCHEDOP, DOMCTL_SCHEDRT_EXTRA, DomctlNodeaffinity, DomctlSchedparamVcpu, DomctlSchedulerOp, DomctlVcpuaffinity, ERRNO, SCHEDULER,
  VCPUAFFINITY,
} from '../../../abi/index.ts'
import { Scratch } from '../../memory/guest-access.ts'
import type { SchedulerParameters } from '../../scheduler/index.ts'
import { WORK } from '../../time/work-meter.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { readBitmap, writeBitmap } from '../binary/bitmaps.ts'
import { silent } from '../binary/control-call.ts'
import { schedulerNumber } from '../binary/scheduler-numbers.ts'
import { DOMCTL_ARGUMENT, type DomctlCall, type DomctlParts } from './domctl-call.ts'

const [HARD, SOFT] = [DomctlVcpuaffinity.cpumapHard.at(DOMCTL_ARGUMENT), DomctlVcpuaffinity.cpumapSoft.at(DOMCTL_ARGUMENT)] as const
/** Nodes that a bitmap may have (MAX_NUMNODES); the host has the first. */
const MOST_NODES = 64

/** What set- and getvcpuaffinity name: a vCPU and which affinity. */
function affinityOf(call: DomctlCall) {
  const index = DomctlVcpuaffinity.vcpu.get(call.view, DOMCTL_ARGUMENT)
  const flags = DomctlVcpuaffinity.flags.get(call.view, DOMCTL_ARGUMENT)
  if (index >= call.domain.vcpuCount) return -ERRNO.EINVAL
  const vcpu = call.vcpu(index)
  if (vcpu === undefined) return -ERRNO.ESRCH
  const isHard = (flags & VCPUAFFINITY.HARD) !== 0
  const isSoft = (flags & VCPUAFFINITY.SOFT) !== 0
  const known = VCPUAFFINITY.HARD | VCPUAFFINITY.SOFT | VCPUAFFINITY.FORCE
  return (flags & ~known) !== 0 || !(isHard || isSoft) ? -ERRNO.EINVAL : { vcpu, isHard, isSoft, isForced: (flags & VCPUAFFINITY.FORCE) !== 0 }
}

function setAffinity({ scheduling, scheduler, execution }: SchedulingCallParts, call: DomctlCall): number {
  const wish = affinityOf(call)
  if (typeof wish === 'number') return wish
  const { vcpu, isHard, isSoft } = wish
  const count = scheduler.cpuCount
  const hard = isHard ? readBitmap(call, HARD, count) : undefined
  const soft = isSoft ? readBitmap(call, SOFT, count) : undefined
  if (typeof hard === 'number') return hard
  if (typeof soft === 'number') return soft
  if (wish.isForced) execution.pinOverride(vcpu, -1)
  const result = scheduling.setAffinity(vcpu, { ...(hard === undefined ? {} : { hard }), ...(soft === undefined ? {} : { soft }) })
  if (result < 0) return result
  // What is told is what it comes to: CPUs of the pool, and soft ones among the hard ones.
  const online = scheduler.poolOf(call.domain.id)?.scheduler.cpus ?? []
  const now = scheduling.affinity(vcpu)
  const effective = now.hard.filter((cpu) => online.includes(cpu))
  return (isHard ? writeBitmap(call, HARD, { set: effective, count }) : 0)
    || (isSoft ? writeBitmap(call, SOFT, { set: now.soft.filter((cpu) => effective.includes(cpu)), count }) : 0)
}

function getAffinity({ scheduling, scheduler }: SchedulingCallParts, call: DomctlCall): number {
  const wish = affinityOf(call)
  if (typeof wish === 'number') return wish
  const { hard, soft } = scheduling.affinity(wish.vcpu)
  const count = scheduler.cpuCount
  return (wish.isHard ? writeBitmap(call, HARD, { set: hard, count }) : 0) || (wish.isSoft ? writeBitmap(call, SOFT, { set: soft, count }) : 0)
}

/** Values of the structure by the scheduler's names. */
function readParameters({ view }: DomctlCall, scheduler: number): SchedulerParameters {
  const op = DomctlSchedulerOp
  const at = (field: { get(view: DataView, base: number): number }): number => field.get(view, DOMCTL_ARGUMENT)
  if (scheduler === SCHEDULER.RTDS) return { period: at(op.period), budget: at(op.budget) }
  // A cap of all ones, and a weight of 0, leave them as they are.
  const cap = at(op.cap)
  const weight = at(op.weight)
  return { ...(weight === 0 ? {} : { weight }), ...(cap === 0xffff ? {} : { cap }) }
}

function writeParameters({ view }: DomctlCall, scheduler: number, values: SchedulerParameters): void {
  const op = DomctlSchedulerOp
  if (scheduler === SCHEDULER.RTDS) {
    op.period.set(view, DOMCTL_ARGUMENT, values['period'] ?? 0)
    op.budget.set(view, DOMCTL_ARGUMENT, values['budget'] ?? 0)
    return
  }
  op.weight.set(view, DOMCTL_ARGUMENT, values['weight'] ?? 0)
  op.cap.set(view, DOMCTL_ARGUMENT, values['cap'] ?? 0)
}

/** Parameters of single vCPUs, of which the structure has a list; rtds has such. */
function ofVcpus({ scheduling, meter }: SchedulingCallParts, call: DomctlCall, isPut: boolean): number {
  const { view, domain } = call
  const op = DomctlSchedulerOp
  const one = new Scratch(DomctlSchedparamVcpu.size)
  const count = op.nrVcpus.get(view, DOMCTL_ARGUMENT)
  for (let i = 0; i < count; i += 1) {
    const place = call.address(op.vcpus, DOMCTL_ARGUMENT) + i * DomctlSchedparamVcpu.size
    if (call.read(place, one.bytes) < 0) return -ERRNO.EFAULT
    const { vcpuid, period, budget, flags } = DomctlSchedparamVcpu.decode(one.view, 0)
    if (call.vcpu(vcpuid) === undefined) return -ERRNO.EINVAL
    if (isPut) {
      const values = { period, budget, extratime: Number((flags & DOMCTL_SCHEDRT_EXTRA) !== 0) }
      if (scheduling.setParameters(domain, { values, vcpu: vcpuid }) < 0) return -ERRNO.EINVAL
    } else {
      const values = scheduling.parameters(domain, vcpuid)
      if (typeof values === 'number') return values
      const told = { period: values['period'] ?? 0, budget: values['budget'] ?? 0, flags: values['extratime'] === 1 ? DOMCTL_SCHEDRT_EXTRA : 0 }
      DomctlSchedparamVcpu.encode(one.view, 0, told)
      if (call.write(place, one.bytes) < 0) return -ERRNO.EFAULT
    }
    op.nrVcpus.set(view, DOMCTL_ARGUMENT, i + 1)
    meter.charge(WORK.element)
  }
  return 0
}

function adjust(parts: SchedulingCallParts, call: DomctlCall): number {
  const { scheduling, scheduler } = parts
  const { view, domain } = call
  call.answers = true
  const pool = scheduler.poolOf(domain.id)
  const number = DomctlSchedulerOp.schedId.get(view, DOMCTL_ARGUMENT)
  if (pool === undefined || number !== schedulerNumber(pool.scheduler.name)) return -ERRNO.EINVAL
  const command = DomctlSchedulerOp.cmd.get(view, DOMCTL_ARGUMENT)
  if (command === DOMCTL_SCHEDOP.putinfo) return scheduling.setParameters(domain, { values: readParameters(call, number) })
  if (command === DOMCTL_SCHEDOP.getinfo) {
    const values = scheduling.parameters(domain, undefined)
    if (typeof values === 'number') return values
    writeParameters(call, number, values)
    return 0
  }
  const isOfVcpus = command === DOMCTL_SCHEDOP.putvcpuinfo || command === DOMCTL_SCHEDOP.getvcpuinfo
  return isOfVcpus && number === SCHEDULER.RTDS ? ofVcpus(parts, call, command === DOMCTL_SCHEDOP.putvcpuinfo) : -ERRNO.EINVAL
}

/** What these operations work on. */
export interface SchedulingCallParts extends DomctlParts {
  readonly execution: { pinOverride(vcpu: DomctlCall['caller'], cpu: number): number }
}

/** The operations, by the names of their numbers. */
export function schedulingOperations(parts: SchedulingCallParts) {
  const nodes = DomctlNodeaffinity.nodemap.at(DOMCTL_ARGUMENT)
  return {
    setvcpuaffinity: silent((call: DomctlCall) => setAffinity(parts, call)),
    getvcpuaffinity: silent((call: DomctlCall) => getAffinity(parts, call)),
    setnodeaffinity: silent((call: DomctlCall) => {
      const wish = readBitmap(call, nodes, MOST_NODES)
      if (typeof wish === 'number') return wish
      return wish.includes(0) ? 0 : -ERRNO.EINVAL
    }, partial('the host has one node, on which all memory lies')),
    getnodeaffinity: silent((call: DomctlCall) => writeBitmap(call, nodes, { set: [0], count: MOST_NODES })),
    scheduler_op: silent((call: DomctlCall) => adjust(parts, call)),
  }
}
