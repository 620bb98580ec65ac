/**
 * Operations of sysctl on pools of CPUs and on their schedulers.
 * Reference: xen/common/sched/cpupool.c, cpupool_do_sysctl; xen/common/sched/core.c, sched_adjust_global; csched2_sys_cntl.
 */
import {
  CPUPOOL_OP, CPUPOOL_PAR_ANY, DOMID, ERRNO, SYSCTL_SCHEDOP, SysctlCpupoolOp, SysctlSchedId, SysctlSchedulerOp,
} from '../../../abi/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { RefusalFacts } from '../../domains/refusal-facts.ts'
import { MAX_POOLS, type CpuPool, type SchedulerParameters } from '../../scheduler/index.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { writeBitmap } from '../binary/bitmaps.ts'
import { answering } from '../binary/control-call.ts'
import { schedulerNumber, schedulerOfNumber } from '../binary/scheduler-numbers.ts'
import { SYSCTL_ARGUMENT, type SysctlCall, type SysctlParts } from './sysctl-call.ts'

type Pool = CpuPool<Vcpu>
type Run = (parts: SysctlParts, call: SysctlCall) => number

const op = SysctlCpupoolOp
const CPUMAP = /* @__PURE__ */ op.cpumap.at(SYSCTL_ARGUMENT)

/** An operation on the pool that the structure names: -ENOENT where there is none. */
const ofPool = (run: (parts: SysctlParts, call: SysctlCall, pool: Pool) => number): Run => (parts, call) => {
  const pool = parts.cpuPools.find(op.cpupoolId.get(call.view, SYSCTL_ARGUMENT))
  return pool === undefined ? -ERRNO.ENOENT : run(parts, call, pool)
}

/** CREATE: a pool without CPUs, of the number that is wanted or of any. */
const create: Run = ({ cpuPools }, { view }) => {
  const wanted = op.cpupoolId.get(view, SYSCTL_ARGUMENT)
  const scheduler = schedulerOfNumber(op.schedId.get(view, SYSCTL_ARGUMENT))
  if (scheduler === undefined) return -ERRNO.ENOENT
  const id = cpuPools.create(wanted === CPUPOOL_PAR_ANY ? undefined : wanted, scheduler)
  if (id < 0) return id
  op.cpupoolId.set(view, SYSCTL_ARGUMENT, id)
  return 0
}

/** INFO: of the pool with that number, or the next one. */
const info: Run = ({ scheduler }, call) => {
  const { view } = call
  const from = op.cpupoolId.get(view, SYSCTL_ARGUMENT)
  const pool = scheduler.all().find(({ id }) => id >= from)
  if (pool === undefined) return -ERRNO.ENOENT
  op.cpupoolId.set(view, SYSCTL_ARGUMENT, pool.id)
  op.schedId.set(view, SYSCTL_ARGUMENT, schedulerNumber(pool.scheduler.name))
  op.nDom.set(view, SYSCTL_ARGUMENT, scheduler.domainsOf(pool).length)
  return writeBitmap(call, CPUMAP, { set: pool.scheduler.cpus, count: scheduler.cpuCount })
}

const addCpu = ofPool(({ cpuPools, scheduler }, { view }, pool) => {
  const wanted = op.cpu.get(view, SYSCTL_ARGUMENT)
  const cpu = wanted === CPUPOOL_PAR_ANY ? scheduler.freeCpus()[0] : wanted
  if (cpu === undefined) return -ERRNO.ENODEV
  const result = cpuPools.addCpu(pool, cpu)
  // One that is in a pool is none that is free.
  return result === -ERRNO.EBUSY ? -ERRNO.ENODEV : result
})

const removeCpu = ofPool(({ cpuPools }, { view }, pool) => {
  const wanted = op.cpu.get(view, SYSCTL_ARGUMENT)
  const cpu = wanted === CPUPOOL_PAR_ANY ? pool.scheduler.cpus.at(-1) : wanted
  return cpu === undefined ? -ERRNO.EINVAL : cpuPools.removeCpu(pool, cpu)
})

const moveDomain: Run = ({ cpuPools, domains, scheduler }, { view, caller }) => {
  const id = op.domid.get(view, SYSCTL_ARGUMENT)
  if (id === DOMID.SELF || id === caller.domid) return -ERRNO.EPERM
  const domain = domains.get(id)
  if (domain === undefined) return -ERRNO.ESRCH
  const own = scheduler.poolOf(domain.id)
  if (own === undefined) return -ERRNO.EINVAL
  const pool = cpuPools.find(op.cpupoolId.get(view, SYSCTL_ARGUMENT))
  if (pool === own) return 0
  if (pool === undefined || pool.scheduler.cpus.length === 0) return -ERRNO.ENOENT
  const facts: RefusalFacts = {}
  return cpuPools.move(domain, pool, facts)
}

const POOL_OPERATIONS: Readonly<Record<number, Run>> = {
  [CPUPOOL_OP.CREATE]: create, [CPUPOOL_OP.INFO]: info, [CPUPOOL_OP.ADDCPU]: addCpu, [CPUPOOL_OP.RMCPU]: removeCpu, [CPUPOOL_OP.MOVEDOMAIN]: moveDomain,
  [CPUPOOL_OP.DESTROY]: /* @__PURE__ */ ofPool(({ cpuPools }, _call, pool) => cpuPools.destroy(pool)),
  [CPUPOOL_OP.FREEINFO]: ({ scheduler }, call) => writeBitmap(call, CPUMAP, { set: scheduler.freeCpus(), count: scheduler.cpuCount }),
}

/** Parameters of a scheduler as the structure has them; what it has no room for stays as it is. */
function readParameters({ view }: SysctlCall, pool: Pool): SchedulerParameters {
  const at = SysctlSchedulerOp
  return pool.scheduler.name === 'credit'
    ? { tslice: at.tsliceMs.get(view, SYSCTL_ARGUMENT), ratelimit: at.ratelimitUs.get(view, SYSCTL_ARGUMENT) }
    : { ratelimit: at.credit2RatelimitUs.get(view, SYSCTL_ARGUMENT) }
}

function adjust({ cpuPools }: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const at = SysctlSchedulerOp
  const command = at.cmd.get(view, SYSCTL_ARGUMENT)
  if (command !== SYSCTL_SCHEDOP.putinfo && command !== SYSCTL_SCHEDOP.getinfo) return -ERRNO.EINVAL
  const id = at.cpupoolId.get(view, SYSCTL_ARGUMENT)
  const pool = id < MAX_POOLS ? cpuPools.find(id) : undefined
  if (pool === undefined) return -ERRNO.ESRCH
  const { scheduler } = pool
  const hasParameters = scheduler.name === 'credit' || scheduler.name === 'credit2'
  if (at.schedId.get(view, SYSCTL_ARGUMENT) !== schedulerNumber(scheduler.name) || !hasParameters) return -ERRNO.EINVAL
  if (command === SYSCTL_SCHEDOP.putinfo) return cpuPools.setParameters(pool, readParameters(call, pool))
  const { tslice = 0, ratelimit = 0 } = scheduler.globalParameters()
  if (scheduler.name === 'credit2') at.credit2RatelimitUs.set(view, SYSCTL_ARGUMENT, ratelimit)
  else {
    at.tsliceMs.set(view, SYSCTL_ARGUMENT, tslice)
    at.ratelimitUs.set(view, SYSCTL_ARGUMENT, ratelimit)
    at.vcpuMigrDelayUs.set(view, SYSCTL_ARGUMENT, 0)
  }
  return 0
}

/** The operations, by the names of their numbers. */
export function poolOperations(parts: SysctlParts) {
  return {
    cpupool_op: answering((call: SysctlCall) => POOL_OPERATIONS[op.op.get(call.view, SYSCTL_ARGUMENT)]?.(parts, call) ?? -ERRNO.ENOSYS),
    scheduler_op: answering((call: SysctlCall) => adjust(parts, call), partial('no vCPU is held where its caches are: that delay is 0')),
    sched_id: answering(({ view }: SysctlCall) => {
      SysctlSchedId.schedId.set(view, SYSCTL_ARGUMENT, schedulerNumber(parts.scheduler.name))
      return 0
    }),
  }
}
