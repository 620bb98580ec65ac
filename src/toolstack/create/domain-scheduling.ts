/**
 * Where and how a domain is scheduled: its configuration's pool, physical CPUs, weight and cap put into effect when it is
 * made, and read back as they are now.
 * Reference: tools/libs/light/libxl_dom.c, libxl__build_pre; libxl_sched.c.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { formatCpuList, parseCpuList } from '../config/cpu-list.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { OPTIONS } from '../config/option-table.ts'
import { findPool, poolName } from '../domains/cpu-pool-nodes.ts'

/** What it works on. */
export interface SchedulingHost {
  readonly control: ControlInterface
  readonly store: LocalStore
}

/** What a configuration says of scheduling. */
export type SchedulingOptions = Pick<DomainConfig, 'pool' | 'cpus' | 'cpusSoft' | keyof typeof PARAMETERS | 'sched'>

/** Options that are parameters of a scheduler, by its name for them. */
const PARAMETERS = { cpuWeight: 'weight', cap: 'cap', period: 'period', budget: 'budget', extraTime: 'extratime' } as const

type ParameterOption = keyof typeof PARAMETERS
const PARAMETER_OPTIONS = /* @__PURE__ */ Object.keys(PARAMETERS) as ParameterOption[]

/** Options without which a domain is scheduled as a new one is. */
const ASKED = /* @__PURE__ */ [...PARAMETER_OPTIONS, 'sched', 'pool', 'cpus', 'cpusSoft'] as const

/** The error of an option that the domain's scheduler has no use for. */
function useless(option: ParameterOption | 'sched', scheduler: string, value: unknown): XenError {
  const why = option === 'sched' ? `its pool has ${scheduler}` : `the scheduler of its pool, ${scheduler}, has no such parameter`
  return new XenError('INVALID_CONFIG', `${OPTIONS[option].file} ${String(value)} has no effect: ${why}`, { details: { key: option, scheduler } })
}

/** The parameters that the configuration gives and the domain's scheduler has. What came from elsewhere may be another's. */
function parametersFor(known: Readonly<Record<string, number>>, config: SchedulingOptions & Pick<DomainConfig, 'trust'>, scheduler: string): Record<string, number> {
  const { sched, trust } = config
  if (sched !== undefined && sched !== scheduler) {
    if (trust === undefined) throw useless('sched', scheduler, sched)
    return {}
  }
  const values: Record<string, number> = {}
  for (const option of PARAMETER_OPTIONS) {
    const value = config[option]
    if (value === undefined) continue
    const name = PARAMETERS[option]
    if (Object.hasOwn(known, name)) values[name] = value
    else if (trust === undefined) throw useless(option, scheduler, value)
  }
  return values
}

/** CPUs of one vCPU, of those that the host has. */
function cpusOf(texts: string | readonly string[] | undefined, vcpu: number, count: number): number[] | undefined {
  const text = typeof texts === 'string' ? texts : texts?.[vcpu]
  return text === undefined ? undefined : parseCpuList(text, count)
}

/** Puts a configuration into effect for a domain that has just been made. Throws INVALID_CONFIG, INVALID_ARGUMENT, POOL_NOT_FOUND. */
export function applyScheduling(host: SchedulingHost, domid: DomId, config: DomainConfig<unknown>): void {
  if (!ASKED.some((option) => config[option] !== undefined)) return
  const { control } = host
  if (config.pool !== undefined) control.moveToCpuPool(domid, findPool(host, config.pool).id)
  const { pool, maxVcpu } = control.domainInfo(domid)
  const { scheduler } = findPool(host, pool)
  const values = parametersFor(control.schedulerParameters(domid), config, scheduler)
  if (Object.keys(values).length > 0) control.setSchedulerParameters(domid, values)
  if (config.cpus === undefined && config.cpusSoft === undefined) return
  const { physicalCpus } = control.hostInfo()
  for (let vcpu = 0; vcpu <= maxVcpu; vcpu += 1) {
    const hard = cpusOf(config.cpus, vcpu, physicalCpus)
    const soft = cpusOf(config.cpusSoft, vcpu, physicalCpus)
    control.setAffinity(domid, vcpu, { ...(hard === undefined ? {} : { hard }), ...(soft === undefined ? {} : { soft }) })
  }
}

/** CPUs of each vCPU; undefined where all may use all. */
function listed(cpus: readonly (readonly number[])[], count: number): string | readonly string[] | undefined {
  const texts = cpus.map((each) => formatCpuList(each, count))
  if (texts.every((text) => text === texts[0])) return texts[0] === 'all' ? undefined : texts[0]
  return texts
}

/** What a domain's configuration says of scheduling as it is now. */
export function liveScheduling({ control, store }: SchedulingHost, domid: DomId): SchedulingOptions {
  const { pool, maxVcpu } = control.domainInfo(domid)
  const { physicalCpus } = control.hostInfo()
  const affinities = Array.from({ length: maxVcpu + 1 }, (_, vcpu) => control.affinity(domid, vcpu))
  const values = control.schedulerParameters(domid)
  const { scheduler } = findPool({ control, store }, pool)
  const options = Object.fromEntries(PARAMETER_OPTIONS.map((option) => [option, values[PARAMETERS[option]]]))
  return {
    ...options as Pick<DomainConfig, ParameterOption>,
    // The names that pools have are those that the option takes.
    sched: scheduler as DomainConfig['sched'],
    pool: pool === 0 ? undefined : poolName(store, pool),
    cpus: listed(affinities.map(({ hard }) => hard), physicalCpus),
    cpusSoft: listed(affinities.map(({ soft }) => soft), physicalCpus),
  }
}
