/**
 * Pools of physical CPUs, each with a scheduler of its own: a domain belongs to one pool and runs on its CPUs alone. Pool 0 is there
 * from the beginning, with all CPUs and all domains; a CPU that is in no pool stays idle. Which operations are refused is said where
 * they are carried out (control/core/cpu-pools.ts); their names are the toolstack's.
 *
 * hot path: what is asked once for each slice only looks the pool up.
 * Reference: xen/common/sched/cpupool.c.
 */
import { XenError, badState, sameState, shape, type DomId, type Rewind, type StateOf, type Stateful } from '../../util/index.ts'
import { createScheduler } from './create.ts'
import type { Director } from './director.ts'
import type { SchedulerName } from './names.ts'
import { schedulerShape } from './scheduler-state.ts'
import type { Affinity, Decision, Scheduler, SchedulerFault, SchedulerParameters, VcpuScheduling } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** Most pools of a host: as many as it can have CPUs, and some that have none yet. */
export const MAX_POOLS = 256

/** What saved pools look like. */
export const cpuPoolsShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  id: shape.word, cpus: /* @__PURE__ */ shape.list(shape.word), scheduler: schedulerShape,
}), MAX_POOLS)

/** Saved pools. */
export type CpuPoolsState = StateOf<typeof cpuPoolsShape>

/** A pool with its scheduler. */
export interface CpuPool<V extends VcpuRef> {
  readonly id: number
  readonly scheduler: Scheduler<V>
}

/** A domain's pool, and its vCPUs. */
interface Member<V extends VcpuRef> {
  pool: CpuPool<V>
  readonly vcpus: V[]
}

/** What makes the vCPUs of a domain that moves stop and go on. */
export interface MovingVcpus<V extends VcpuRef> {
  /** The vCPU has left its scheduler: it runs nowhere. */
  left(vcpu: V, ask: number): void
  /** It sleeps in the other one. */
  arrived(vcpu: V): void
}

const IDLE = /* @__PURE__ */ Object.freeze({ vcpu: undefined, until: Infinity, alsoAsk: -1 })

/** All pools of a host. */
export class CpuPools<V extends VcpuRef> implements VcpuScheduling<V>, Stateful<CpuPoolsState> {
  readonly cpuCount: number
  private readonly pools = new Map<number, CpuPool<V>>()
  private readonly members = new Map<DomId, Member<V>>()
  private directing: Director | undefined
  /** The scheduler of pool 0 while that is the only pool: of every vCPU. */
  private only: Scheduler<V> | undefined
  /** The pool that each CPU is in. */
  private readonly poolOfCpu: (CpuPool<V> | undefined)[]

  constructor(scheduler: SchedulerName, cpuCount: number) {
    const first = { id: 0, scheduler: createScheduler<V>(scheduler, cpuCount) }
    this.cpuCount = cpuCount
    this.pools.set(0, first)
    this.only = first.scheduler
    this.poolOfCpu = new Array<CpuPool<V> | undefined>(cpuCount).fill(first)
  }

  /** The scheduler of pool 0. */
  get name(): SchedulerName {
    return this.pools.get(0)!.scheduler.name
  }

  /** By number. */
  all(): CpuPool<V>[] {
    return [...this.pools.values()].sort((a, b) => a.id - b.id)
  }

  get(id: number): CpuPool<V> | undefined {
    return this.pools.get(id)
  }

  /** The pool of a domain; undefined for one that is being taken apart and runs no more. */
  poolOf(domid: DomId): CpuPool<V> | undefined {
    return this.members.get(domid)?.pool
  }

  /** Domains of a pool, in the order in which they were made. */
  domainsOf(pool: CpuPool<V>): DomId[] {
    return [...this.members].flatMap(([domid, member]) => (member.pool === pool ? [domid] : []))
  }

  /** The pool that a CPU is in. */
  poolAt(cpu: number): CpuPool<V> | undefined {
    return this.poolOfCpu[cpu]
  }

  /** CPUs that are in no pool, ascending. */
  freeCpus(): number[] {
    return this.poolOfCpu.flatMap((pool, cpu) => (pool === undefined ? [cpu] : []))
  }

  /** A pool without CPUs. */
  create(id: number, scheduler: SchedulerName): CpuPool<V> {
    const pool = { id, scheduler: createScheduler<V>(scheduler, this.cpuCount) }
    pool.scheduler.setCpus([], 0)
    pool.scheduler.direct(this.directing)
    this.pools.set(id, pool)
    this.only = undefined
    return pool
  }

  /** Whoever decides in the schedulers' place. */
  get director(): Director | undefined {
    return this.directing
  }

  direct(director: Director | undefined): void {
    this.directing = director
    for (const { scheduler } of this.pools.values()) scheduler.direct(director)
  }

  /** Forgets a pool without CPUs and domains. */
  remove(pool: CpuPool<V>): void {
    this.pools.delete(pool.id)
    if (this.pools.size === 1) this.only = this.pools.get(0)!.scheduler
  }

  /** Puts a CPU into a pool, or into none. All CPUs of both are to be asked again, and what runs on this one has left it. */
  assign(cpu: number, pool: CpuPool<V> | undefined, now: number): void {
    const before = this.poolOfCpu[cpu]
    this.poolOfCpu[cpu] = pool
    before?.scheduler.setCpus(before.scheduler.cpus.filter((other) => other !== cpu), now)
    pool?.scheduler.setCpus([...pool.scheduler.cpus, cpu], now)
  }

  /** Moves a domain: its vCPUs have the parameters of a new one there, and may use all CPUs. */
  move(domid: DomId, pool: CpuPool<V>, { now, moving }: { readonly now: number; readonly moving: MovingVcpus<V> }): void {
    const member = this.member(domid)
    const { scheduler } = member.pool
    for (const vcpu of member.vcpus) moving.left(vcpu, scheduler.removeVcpu(vcpu, now))
    scheduler.removeDomain(domid)
    member.pool = pool
    pool.scheduler.addDomain(domid)
    for (const vcpu of member.vcpus) {
      pool.scheduler.addVcpu(vcpu, now)
      moving.arrived(vcpu)
    }
  }

  /** A new domain belongs to pool 0. */
  addDomain(domid: DomId): void {
    const pool = this.pools.get(0)!
    this.members.set(domid, { pool, vcpus: [] })
    pool.scheduler.addDomain(domid)
  }

  removeDomain(domid: DomId): void {
    this.member(domid).pool.scheduler.removeDomain(domid)
    this.members.delete(domid)
  }

  addVcpu(vcpu: V, now: number): void {
    const { vcpus, pool } = this.member(vcpu.domid)
    vcpus.push(vcpu)
    pool.scheduler.addVcpu(vcpu, now)
  }

  removeVcpu(vcpu: V, now: number): number {
    const { vcpus, pool } = this.member(vcpu.domid)
    const at = vcpus.indexOf(vcpu)
    if (at >= 0) vcpus.splice(at, 1)
    return pool.scheduler.removeVcpu(vcpu, now)
  }

  wake(vcpu: V, now: number): number {
    return this.of(vcpu).wake(vcpu, now)
  }

  sleep(vcpu: V, now: number): void {
    // A domain that is being taken apart may have left already.
    const scheduler = this.only ?? this.members.get(vcpu.domid)?.pool.scheduler
    scheduler?.sleep(vcpu, now)
  }

  yield(vcpu: V, now: number): void {
    this.of(vcpu).yield(vcpu, now)
  }

  schedule(cpu: number, now: number): Decision<V> {
    const pool = this.poolOfCpu[cpu]
    return pool === undefined ? IDLE : pool.scheduler.schedule(cpu, now)
  }

  affinity(vcpu: V): Affinity {
    return this.of(vcpu).affinity(vcpu)
  }

  setAffinity(vcpu: V, affinity: Partial<Affinity>, now: number): number {
    return this.of(vcpu).setAffinity(vcpu, affinity, now)
  }

  affinityFault(vcpu: V, affinity: Partial<Affinity>): SchedulerFault | undefined {
    return this.of(vcpu).affinityFault(vcpu, affinity)
  }

  parametersFault(domid: DomId, values: SchedulerParameters, vcpu?: number): SchedulerFault | undefined {
    return this.member(domid).pool.scheduler.parametersFault(domid, values, vcpu)
  }

  parameters(domid: DomId, vcpu?: number): SchedulerParameters {
    return this.member(domid).pool.scheduler.parameters(domid, vcpu)
  }

  setParameters(domid: DomId, values: SchedulerParameters, vcpu?: number): void {
    this.member(domid).pool.scheduler.setParameters(domid, values, vcpu)
  }

  save(): CpuPoolsState {
    return this.all().map(({ id, scheduler }) => ({ id, cpus: [...scheduler.cpus], scheduler: scheduler.save() }))
  }

  isAsSaved(state: CpuPoolsState): boolean {
    return state.length === this.pools.size && state.every(({ id, cpus, scheduler }) => {
      const own = this.pools.get(id)?.scheduler
      return own !== undefined && own.name === scheduler.kind && sameState(own.cpus, cpus) && own.isAsSaved(scheduler)
    })
  }

  /** The domains and vCPUs have been added, to pool 0; they are moved to where they were. */
  load(state: CpuPoolsState): void {
    const places = state.flatMap(({ cpus }) => cpus)
    const isSound = state[0]?.id === 0 && new Set(state.map(({ id }) => id)).size === state.length
      && new Set(places).size === places.length && places.every((cpu) => cpu < this.cpuCount)
    if (!isSound) throw badState('a pool or a CPU is there twice, or is none')
    const still: MovingVcpus<V> = { left: () => undefined, arrived: () => undefined }
    this.poolOfCpu.fill(undefined)
    for (const { id, cpus, scheduler: { kind, domains } } of state) {
      const pool = this.pools.get(id) ?? this.create(id, kind)
      pool.scheduler.setCpus(cpus, 0)
      for (const cpu of cpus) this.poolOfCpu[cpu] = pool
      if (id === 0) continue
      for (const { domid } of domains) {
        if (this.members.get(domid as DomId)?.pool.id !== 0) throw badState(`domain ${domid} is not there, or in two pools`)
        this.move(domid as DomId, pool, { now: 0, moving: still })
      }
    }
    for (const { id, scheduler } of state) this.pools.get(id)!.scheduler.load(scheduler)
    this.forgetAllBut(state)
  }

  /** In place where the same vCPUs are in the same pools. */
  rewind(state: CpuPoolsState, now: CpuPoolsState): Rewind | undefined {
    const members = (pools: CpuPoolsState): unknown => pools.map(({ id, cpus, scheduler: { kind, domains, vcpus } }) => (
      { id, cpus, kind, domains: domains.map(({ domid }) => domid), vcpus: vcpus.map(({ domid, vcpu }) => [domid, vcpu]) }
    ))
    if (!sameState(members(state), members(now))) return undefined
    return () => {
      for (const { id, scheduler } of state) this.pools.get(id)!.scheduler.load(scheduler)
    }
  }

  /** Domains and vCPUs that have stopped for good are in no scheduler any more. */
  private forgetAllBut(state: CpuPoolsState): void {
    const kept = new Set(state.flatMap(({ scheduler }) => scheduler.vcpus.map(({ domid, vcpu }) => `${domid}.${vcpu}`)))
    const domains = new Set(state.flatMap(({ scheduler }) => scheduler.domains.map(({ domid }) => domid)))
    for (const [domid, { vcpus }] of this.members) {
      if (!domains.has(domid)) this.members.delete(domid)
      else vcpus.splice(0, vcpus.length, ...vcpus.filter(({ vcpu }) => kept.has(`${domid}.${vcpu}`)))
    }
  }

  private of(vcpu: V): Scheduler<V> {
    return this.only ?? this.member(vcpu.domid).pool.scheduler
  }

  private member(domid: DomId): Member<V> {
    const member = this.members.get(domid)
    if (member === undefined) throw new XenError('DOMAIN_NOT_FOUND', `domain ${domid} is not scheduled here`)
    return member
  }
}
