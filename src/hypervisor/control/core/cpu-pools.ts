/**
 * What a toolstack does with pools of physical CPUs: making and ending them, giving and taking CPUs, moving domains. Nothing
 * throws; `facts` takes why something was refused.
 * Reference: xen/common/sched/cpupool.c, cpupool_do_sysctl; xen/common/sched/core.c, sched_move_domain.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import type { PhysicalCpus } from '../../execution/physical-cpus.ts'
import {
  MAX_POOLS, SCHEDULER_NAMES, type CpuPool, type CpuPools, type SchedulerFault, type SchedulerName, type SchedulerParameters,
} from '../../scheduler/index.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { CpuPoolInfo } from './records.ts'
import type { Told } from './scheduling.ts'

/** What these operations work on. */
export interface CpuPoolParts {
  readonly scheduler: CpuPools<Vcpu>
  readonly clock: HostClock
  readonly cpus: Pick<PhysicalCpus, 'vacate' | 'reschedule'>
  readonly execution: {
    leave(vcpu: Vcpu, ask: number): void
    update(vcpu: Vcpu): void
  }
}

/** The scheduler of this name; undefined when there is none. */
const schedulerNamed = (name: string): SchedulerName | undefined => SCHEDULER_NAMES.find((known) => known === name)

/** Carries out operations on pools. */
export class CpuPoolOperations {
  private readonly parts: CpuPoolParts

  constructor(parts: CpuPoolParts) {
    this.parts = parts
  }

  /** XEN_SYSCTL_CPUPOOL_OP_INFO of all pools. */
  list(): CpuPoolInfo[] {
    const { scheduler } = this.parts
    return scheduler.all().map((pool) => ({
      id: pool.id, scheduler: pool.scheduler.name, cpus: [...pool.scheduler.cpus], domains: scheduler.domainsOf(pool),
    }))
  }

  /** A pool by its number. */
  find(id: number): CpuPool<Vcpu> | undefined {
    return this.parts.scheduler.get(id)
  }

  /** XEN_SYSCTL_CPUPOOL_OP_CREATE: the number; -EINVAL, -EEXIST, -ENOMEM. */
  create(wanted: number | undefined, name: string | undefined, facts: RefusalFacts = {}): number {
    const { scheduler: pools } = this.parts
    const scheduler = schedulerNamed(name ?? pools.name)
    const schedulers = SCHEDULER_NAMES.join(', ')
    if (scheduler === undefined) return because(facts, { cause: 'scheduler', scheduler: name, schedulers }, -ERRNO.EINVAL)
    Object.assign(facts, { pool: wanted, most: MAX_POOLS - 1 })
    if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 0 && wanted < MAX_POOLS)) return because(facts, { cause: 'number' }, -ERRNO.EINVAL)
    if (wanted !== undefined && pools.get(wanted) !== undefined) return -ERRNO.EEXIST
    const id = wanted ?? Array.from({ length: MAX_POOLS }, (_, number) => number).find((number) => pools.get(number) === undefined)
    if (id === undefined) return because(facts, { most: MAX_POOLS }, -ERRNO.ENOMEM)
    return pools.create(id, scheduler).id
  }

  /** XEN_SYSCTL_CPUPOOL_OP_DESTROY: 0; -EPERM for pool 0, -EBUSY for one that is in use. */
  destroy(pool: CpuPool<Vcpu>, facts: RefusalFacts = {}): number {
    const { scheduler: pools } = this.parts
    const domains = pools.domainsOf(pool)
    const { cpus } = pool.scheduler
    if (pool.id === 0) return because(facts, { cause: 'first' }, -ERRNO.EPERM)
    if (domains.length > 0) return because(facts, { cause: 'domains', domains }, -ERRNO.EBUSY)
    if (cpus.length > 0) return because(facts, { cpus }, -ERRNO.EBUSY)
    pools.remove(pool)
    return 0
  }

  /** XEN_SYSCTL_CPUPOOL_OP_ADDCPU: 0; -EINVAL for a CPU that there is not, -EBUSY for one that is in a pool. */
  addCpu(pool: CpuPool<Vcpu>, cpu: number, facts: RefusalFacts = {}): number {
    const { scheduler: pools } = this.parts
    if (!(Number.isInteger(cpu) && cpu >= 0 && cpu < pools.cpuCount)) return -ERRNO.EINVAL
    const before = pools.poolAt(cpu)
    if (before !== undefined) return because(facts, { in: before.id }, -ERRNO.EBUSY)
    this.assign(cpu, pool)
    return 0
  }

  /** XEN_SYSCTL_CPUPOOL_OP_RMCPU: 0; -EINVAL for a CPU of another pool, -EBUSY for the last one where domains need it. */
  removeCpu(pool: CpuPool<Vcpu>, cpu: number): number {
    const { scheduler: pools } = this.parts
    if (pools.poolAt(cpu) !== pool) return -ERRNO.EINVAL
    const isNeeded = pool.id === 0 || pools.domainsOf(pool).length > 0
    if (isNeeded && pool.scheduler.cpus.length === 1) return -ERRNO.EBUSY
    this.assign(cpu, undefined)
    return 0
  }

  /** XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: 0; -EPERM for dom0, -EINVAL for a dying domain and for a pool without CPUs. */
  move(domain: Domain, pool: CpuPool<Vcpu>, facts: RefusalFacts = {}): number {
    const { scheduler: pools, clock, execution } = this.parts
    const before = pools.poolOf(domain.id)
    if (before === pool) return 0
    if (domain.id === 0) return because(facts, { cause: 'dom0' }, -ERRNO.EPERM)
    if (before === undefined || domain.dying) return because(facts, { cause: 'dying' }, -ERRNO.EINVAL)
    if (pool.scheduler.cpus.length === 0) return -ERRNO.EINVAL
    pools.move(domain.id, pool, { now: clock.now(), moving: {
      left: (vcpu, ask) => execution.leave(vcpu, ask), arrived: (vcpu) => execution.update(vcpu),
    } })
    return 0
  }

  /** XEN_SYSCTL_SCHEDOP_putinfo: 0, or -EINVAL with what the scheduler says. */
  setParameters({ scheduler }: CpuPool<Vcpu>, values: SchedulerParameters, told: Told = {}): number {
    const fault: SchedulerFault | undefined = scheduler.globalFault(values)
    told.fault = fault
    if (fault !== undefined) return -ERRNO.EINVAL
    scheduler.setGlobalParameters(values)
    return 0
  }

  private assign(cpu: number, pool: CpuPool<Vcpu> | undefined): void {
    const { scheduler: pools, cpus, clock } = this.parts
    const before = pools.poolAt(cpu)
    pools.assign(cpu, pool, clock.now())
    cpus.vacate(cpu)
    for (const one of [before, pool]) for (const other of one?.scheduler.cpus ?? []) cpus.reschedule(other)
  }
}
