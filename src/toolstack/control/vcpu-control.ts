/**
 * vCPUs as tools see them: their state, where they may run, and how their domain is scheduled.
 * Reference: xl(1), "vcpu-list", "vcpu-pin", "sched-credit2"; tools/libs/light/libxl_sched.c.
 */
import { checkArgument, checkOptions, listOf, oneOf, readRecord, whole, XenError, type DomId } from '../../util/index.ts'
import { parseCpuList } from '../config/cpu-list.ts'
import { findPool } from '../domains/cpu-pool-nodes.ts'
import { domainPath } from '../domains/domain-nodes.ts'
import type { ControlSeat } from './control-seat.ts'

/** One vCPU, as a line of `xl vcpu-list` shows it. */
export interface VcpuSummary {
  readonly domid: number
  /** The domain's name. */
  readonly name: string
  readonly vcpu: number
  /** Physical CPU that it runs on or ran on last; undefined for one that is not online. */
  readonly cpu: number | undefined
  /** `rbp`, a dash for what is not so: running, blocked, not online. */
  readonly state: string
  readonly online: boolean
  /** Seconds of CPU that it has used. */
  readonly time: number
  /** Physical CPUs on which it may run, and on which it should while it can; ascending. */
  readonly hard: readonly number[]
  readonly soft: readonly number[]
}

/** Where a vCPU may run: numbers of physical CPUs, or a list as `0-3,^1`. What is left out stays. */
export interface AffinityWish {
  readonly hard?: string | readonly number[] | undefined
  readonly soft?: string | readonly number[] | undefined
}

const cpuNumber = /* @__PURE__ */ whole(0, 4095)
const cpuNumbers = /* @__PURE__ */ listOf(cpuNumber)
const cpus = (value: unknown): string | undefined => (typeof value === 'string' ? undefined : cpuNumbers(value))

/** The vCPUs of a domain. Throws DOMAIN_NOT_FOUND. */
export function listVcpus({ control, nameOf }: ControlSeat, domid: DomId): VcpuSummary[] {
  const { maxVcpu } = control.domainInfo(domid)
  return Array.from({ length: maxVcpu + 1 }, (_, vcpu) => {
    const { online, running, blocked, cpu, cpuTime } = control.vcpuInfo(domid, vcpu)
    const state = `${running ? 'r' : '-'}${blocked && online ? 'b' : '-'}${online ? '-' : 'p'}`
    return {
      domid, name: nameOf(domid), vcpu, cpu: online ? cpu : undefined, state, online, time: cpuTime / 1e9, ...control.affinity(domid, vcpu),
    }
  })
}

/** The numbers of a wish. */
function numbersOf(wish: string | readonly number[] | undefined, count: number): readonly number[] | undefined {
  return typeof wish === 'string' ? parseCpuList(wish, count) : wish
}

/** Says where a vCPU, or all of a domain, may and should run. Throws INVALID_ARGUMENT, and then nothing has changed. */
export function setAffinity(seat: ControlSeat, domid: DomId, { vcpu, affinity }: { readonly vcpu: number | 'all'; readonly affinity: AffinityWish }): void {
  const { control } = seat
  if (vcpu !== 'all') checkArgument('a vCPU', vcpu, cpuNumber)
  checkOptions('setAffinity', affinity, { hard: cpus, soft: cpus })
  seat.enter({ name: 'setAffinity', arguments: [domid, vcpu, affinity] }, () => {
    const { maxVcpu } = control.domainInfo(domid)
    const { physicalCpus } = control.hostInfo()
    const [hard, soft] = [numbersOf(affinity.hard, physicalCpus), numbersOf(affinity.soft, physicalCpus)]
    const all = vcpu === 'all' ? Array.from({ length: maxVcpu + 1 }, (_, one) => one) : [vcpu]
    for (const one of all) {
      // What one of a domain's vCPUs takes, all take.
      control.setAffinity(domid, one, { ...(hard === undefined ? {} : { hard }), ...(soft === undefined ? {} : { soft }) })
      seat.emit({ type: 'vcpu-affinity', domid, vcpu: one, ...control.affinity(domid, one) })
    }
    seat.loop.kick()
  })
}

/** How a domain, or a vCPU of one whose scheduler has parameters for each, is scheduled: the pool, its scheduler, its parameters. */
export interface DomainScheduling {
  /** Number of the pool of CPUs. */
  readonly pool: number
  readonly scheduler: string
  /** Such as `weight` and `cap` (credit, credit2), or `period`, `budget` and `extratime` (rtds). */
  readonly parameters: Readonly<Record<string, number>>
}

/** How a domain is scheduled. */
export function schedulingOf({ control, store }: ControlSeat, domid: DomId, vcpu?: number): DomainScheduling {
  const { pool } = control.domainInfo(domid)
  if (pool < 0) throw new XenError('INVALID_STATE', `domain ${domid} is dying`, { details: { domid } })
  return { pool, scheduler: findPool({ control, store }, pool).scheduler, parameters: control.schedulerParameters(domid, vcpu) }
}

/** Changes parameters of a domain's scheduler, or of one vCPU where it has such. Throws INVALID_ARGUMENT for what it does not take. */
export function setScheduling(
  seat: ControlSeat, domid: DomId, { values, vcpu }: { readonly values: Readonly<Record<string, number>>; readonly vcpu?: number | undefined },
): void {
  const given = readRecord('the parameters of a scheduler', values)
  seat.enter({ name: 'setScheduling', arguments: [domid, given, vcpu === undefined ? {} : { vcpu }] }, () => {
    seat.control.setSchedulerParameters(domid, given, vcpu)
    const parameters = seat.control.schedulerParameters(domid, vcpu)
    seat.emit({ type: 'domain-scheduling', domid, ...(vcpu === undefined ? {} : { vcpu }), parameters })
    seat.loop.kick()
  })
}

/** Moves a domain to a pool of CPUs, by name or number; its vCPUs may use all of them. Throws POOL_NOT_FOUND, INVALID_STATE, INVALID_ARGUMENT. */
export function moveToPool(seat: ControlSeat, domid: DomId, pool: string | number): void {
  seat.enter({ name: 'moveToPool', arguments: [domid, pool] }, () => {
    const { id } = findPool(seat, pool)
    if (seat.control.domainInfo(domid).pool === id) return
    seat.control.moveToCpuPool(domid, id)
    seat.emit({ type: 'domain-pool', domid, pool: id })
    seat.loop.kick()
  })
}

/** Writes a SysRq key for the guest to take. Throws INVALID_ARGUMENT for what is no key. */
export function sendSysrq(seat: ControlSeat, domid: DomId, letter: string): void {
  if (typeof letter !== 'string' || !/^[0-9a-z?]$/i.test(letter)) {
    throw new XenError('INVALID_ARGUMENT', 'a SysRq key is one letter or digit', { details: { letter } })
  }
  seat.enter({ name: 'sysrq', arguments: [domid, letter] }, () => {
    seat.control.domainInfo(domid)
    seat.store.write(`${domainPath(domid)}/control/sysrq`, letter)
    seat.emit({ type: 'domain-sysrq', domid, letter })
    seat.loop.kick()
  })
}

/** What can be sent to a domain beside events. */
export const TRIGGERS = ['nmi', 'reset', 'init', 'power', 'sleep', 's3resume'] as const
/** One of {@link TRIGGERS}. */
export type Trigger = (typeof TRIGGERS)[number]

/**
 * Sends a vCPU a non-maskable interrupt. The other triggers of `xl trigger` are for machines that no guest has here, as the
 * hypervisor itself answers for PV and PVH guests: they are refused by name with NOT_SUPPORTED.
 */
export function sendTrigger(seat: ControlSeat, domid: DomId, { trigger, vcpu }: { readonly trigger: Trigger; readonly vcpu: number }): void {
  checkArgument('a trigger', trigger, oneOf(...TRIGGERS))
  checkArgument('a vCPU', vcpu, cpuNumber)
  seat.enter({ name: 'trigger', arguments: [domid, trigger, vcpu] }, () => {
    if (trigger !== 'nmi') {
      seat.control.vcpuInfo(domid, vcpu)
      throw new XenError('NOT_SUPPORTED', `trigger ${trigger} is for guests with a device model, which domain ${domid} has not`, { details: { domid, trigger } })
    }
    seat.control.sendNmi(domid, vcpu)
    seat.emit({ type: 'domain-trigger', domid, trigger, vcpu })
    seat.loop.kick()
  })
}
