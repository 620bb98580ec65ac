/**
 * What all schedulers share: who exists, who can run, who runs where, affinity, and saving. It decides nothing:
 * the algorithms are the subclasses.
 */
import { Bitmap, XenError, badState, type DomId, sameFields, sameState } from '../../util/index.ts'
import type { Director } from './director.ts'
import { changed, defaults, faultOf, throwFault, type ParameterTable } from './parameters.ts'
import type { SchedulerName } from './names.ts'
import { checkNumbers, checkPlaces, type SavedDomain, type SavedVcpu, type SchedulerState } from './scheduler-state.ts'
import type { Affinity, Decision, Scheduler, SchedulerFault, SchedulerParameters } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** A domain as schedulers see it. */
export interface DomainEntry {
  readonly domid: DomId
  parameters: Record<string, number>
  /** vCPUs it has. */
  vcpuCount: number
  /** The algorithm's own numbers; saved and restored as they are. */
  readonly numbers: Record<string, number>
}

/** A vCPU as schedulers see it. */
export interface SchedulerUnit<V extends VcpuRef> {
  readonly ref: V
  readonly domain: DomainEntry
  /** It can run: not blocked, paused or offline. */
  runnable: boolean
  /** CPU that it runs on, or -1. */
  cpu: number
  /** Since when it has been running and not yet charged. */
  since: number
  hard: Bitmap
  soft: Bitmap
  /** CPUs of its hard affinity that the scheduler serves. */
  usable: Bitmap
  /** The algorithm's own numbers; saved and restored as they are. */
  readonly numbers: Record<string, number>
}

const cpuFault = (count: number, cpus: readonly number[]): SchedulerFault | undefined => {
  const cpu = cpus.find((one) => !Number.isInteger(one) || one < 0 || one >= count)
  return cpu === undefined ? undefined : { message: `there is no physical CPU ${cpu}`, details: { cpu, cpus: count } }
}

const cpuSet = (count: number, cpus: readonly number[]): Bitmap => {
  throwFault(cpuFault(count, cpus))
  const set = new Bitmap(count)
  for (const cpu of cpus) set.add(cpu)
  return set
}

const allCpus = (count: number): Bitmap => cpuSet(count, Array.from({ length: count }, (_, cpu) => cpu))

const sameCpus = (cpus: Bitmap, saved: readonly number[]): boolean => cpus.count === saved.length && saved.every((cpu) => cpus.has(cpu))

const sameUnit = ({ ref, runnable, hard, soft, since, numbers }: SchedulerUnit<VcpuRef>, saved: SavedVcpu): boolean =>
  ref.domid === saved.domid && ref.vcpu === saved.vcpu && runnable === saved.runnable && since === saved.since
  && sameCpus(hard, saved.hard) && sameCpus(soft, saved.soft) && sameState(numbers, saved.numbers)

/** Bookkeeping for one scheduler. */
export abstract class SchedulerBase<V extends VcpuRef> implements Scheduler<V> {
  abstract readonly name: SchedulerName
  readonly cpuCount: number
  protected readonly domains = new Map<DomId, DomainEntry>()
  protected readonly vcpus = new Map<V, SchedulerUnit<V>>()
  /** What each CPU runs. */
  protected readonly running: (SchedulerUnit<V> | undefined)[]
  /** vCPUs that can run and do not, in the algorithm's order. */
  protected readonly queue: SchedulerUnit<V>[] = []
  protected global: Record<string, number>
  /** CPUs that the caller has been told to ask and has not asked yet. */
  protected readonly asked: boolean[]
  /** The algorithm's own numbers for the host. */
  protected readonly numbers: Record<string, number> = {}
  /** CPUs that it serves. */
  protected readonly served: Bitmap
  private readonly domainTable: ParameterTable
  private readonly globalTable: ParameterTable
  private director: Director | undefined

  constructor(cpuCount: number, domainTable: ParameterTable = {}, globalTable: ParameterTable = {}) {
    if (!Number.isInteger(cpuCount) || cpuCount < 1) {
      throw new XenError('INVALID_ARGUMENT', `a host has at least one physical CPU, got ${cpuCount}`)
    }
    this.cpuCount = cpuCount
    this.running = new Array<SchedulerUnit<V> | undefined>(cpuCount).fill(undefined)
    this.asked = new Array<boolean>(cpuCount).fill(false)
    this.served = allCpus(cpuCount)
    this.domainTable = domainTable
    this.globalTable = globalTable
    this.global = defaults(globalTable)
  }

  /** What the algorithm has a CPU do. */
  protected abstract plan(cpu: number, now: number): Decision<V>
  /** A vCPU has become runnable and stands in no queue: queue it; the CPU to ask again, or -1. */
  protected abstract enqueue(entry: SchedulerUnit<V>, now: number): number
  /** Charges a running vCPU for the time up to `now`. */
  protected abstract charge(entry: SchedulerUnit<V>, now: number): void

  /** Numbers that a new vCPU starts with. */
  protected freshNumbers(_domain: DomainEntry, _now: number): Record<string, number> {
    return {}
  }

  /** Numbers that a new domain starts with. */
  protected freshDomainNumbers(): Record<string, number> {
    return {}
  }

  direct(director: Director | undefined): void {
    this.director = director
  }

  schedule(cpu: number, now: number): Decision<V> {
    return this.director === undefined ? this.plan(cpu, now) : this.obey(this.director, cpu, now)
  }

  addDomain(domid: DomId): void {
    this.domains.set(domid, {
      domid, parameters: defaults(this.domainTable), vcpuCount: 0, numbers: this.freshDomainNumbers(),
    })
  }

  removeDomain(domid: DomId): void {
    this.domains.delete(domid)
  }

  addVcpu(vcpu: V, now: number): void {
    const domain = this.domainOf(vcpu.domid)
    domain.vcpuCount += 1
    const all = allCpus(this.cpuCount)
    this.vcpus.set(vcpu, {
      ref: vcpu, domain, runnable: false, cpu: -1, since: now, hard: all, soft: all, usable: this.served,
      numbers: this.freshNumbers(domain, now),
    })
  }

  removeVcpu(vcpu: V, now: number): number {
    this.sleep(vcpu, now)
    const entry = this.vcpus.get(vcpu)
    if (entry === undefined) return -1
    if (entry.cpu >= 0) this.running[entry.cpu] = undefined
    entry.domain.vcpuCount -= 1
    this.vcpus.delete(vcpu)
    return entry.cpu
  }

  wake(vcpu: V, now: number): number {
    const entry = this.entryOf(vcpu)
    if (entry.runnable) return -1
    entry.runnable = true
    // Still on its CPU, which has not been asked since it went to sleep: it simply goes on.
    const cpu = entry.cpu >= 0 ? entry.cpu : this.enqueue(entry, now)
    return this.ask(cpu < 0 && this.director !== undefined ? this.busyCpuFor(entry, now) : cpu)
  }

  sleep(vcpu: V, now: number): void {
    const entry = this.vcpus.get(vcpu)
    if (entry === undefined || !entry.runnable) return
    entry.runnable = false
    if (entry.cpu >= 0) this.charge(entry, now)
    else this.dequeue(entry)
  }

  yield(_vcpu: V, _now: number): void {}

  affinity(vcpu: V): Affinity {
    const { hard, soft } = this.entryOf(vcpu)
    return { hard: [...hard], soft: [...soft] }
  }

  affinityFault(_vcpu: V, { hard, soft }: Partial<Affinity>): SchedulerFault | undefined {
    const unknown = cpuFault(this.cpuCount, [...hard ?? [], ...soft ?? []])
    if (unknown !== undefined || hard === undefined || hard.some((cpu) => this.served.has(cpu))) return unknown
    const message = hard.length === 0 ? 'a vCPU needs a physical CPU to run on' : `physical CPUs ${hard.join(', ')} are not in the vCPU's pool`
    return { message, details: hard.length === 0 ? {} : { cpus: hard } }
  }

  setAffinity(vcpu: V, affinity: Partial<Affinity>, now: number): number {
    const entry = this.entryOf(vcpu)
    throwFault(this.affinityFault(vcpu, affinity))
    const hard = affinity.hard === undefined ? entry.hard : cpuSet(this.cpuCount, affinity.hard)
    const soft = affinity.soft === undefined ? entry.soft : cpuSet(this.cpuCount, affinity.soft)
    entry.hard = hard
    entry.soft = soft
    this.limit(entry)
    return this.ask(this.affinityChanged(entry, now))
  }

  parameters(domid: DomId, _vcpu?: number): SchedulerParameters {
    return { ...this.domainOf(domid).parameters }
  }

  parametersFault(_domain: DomId, values: SchedulerParameters, _vcpu?: number): SchedulerFault | undefined {
    return faultOf(this.domainTable, values)
  }

  setParameters(domid: DomId, values: SchedulerParameters, vcpu?: number): void {
    throwFault(this.parametersFault(domid, values, vcpu))
    const entry = this.domainOf(domid)
    entry.parameters = changed(this.domainTable, entry.parameters, values)
  }

  get cpus(): readonly number[] {
    return [...this.served]
  }

  setCpus(cpus: readonly number[], now: number): void {
    const next = cpuSet(this.cpuCount, cpus)
    const lost = this.cpus.filter((cpu) => !next.has(cpu))
    this.served.restore(next.save())
    for (const entry of this.vcpus.values()) this.limit(entry)
    this.cpusChanged()
    for (const cpu of lost) {
      const entry = this.stop(cpu, now)
      if (entry === undefined) continue
      this.takenOff(entry)
      if (entry.runnable) this.ask(this.enqueue(entry, now))
    }
  }

  globalFault(values: SchedulerParameters): SchedulerFault | undefined {
    return faultOf(this.globalTable, values)
  }

  globalParameters(): SchedulerParameters {
    return { ...this.global }
  }

  setGlobalParameters(values: SchedulerParameters): void {
    this.global = changed(this.globalTable, this.global, values)
  }

  save(): SchedulerState {
    const entries = [...this.vcpus.values()]
    const index = (entry: SchedulerUnit<V> | undefined): number => (entry === undefined ? -1 : entries.indexOf(entry))
    return {
      kind: this.name,
      cpus: this.cpuCount,
      domains: [...this.domains.values()].map(({ domid, parameters, numbers }) => (
        { domid, parameters: { ...parameters }, numbers: { ...numbers } }
      )),
      vcpus: entries.map((entry): SavedVcpu => ({
        domid: entry.ref.domid, vcpu: entry.ref.vcpu, runnable: entry.runnable,
        hard: [...entry.hard], soft: [...entry.soft], since: entry.since, numbers: { ...entry.numbers },
      })),
      running: this.running.map(index),
      queue: this.queue.map(index),
      asked: this.asked.flatMap((asked, cpu) => (asked ? [cpu] : [])),
      global: { ...this.global },
      numbers: { ...this.numbers },
    }
  }

  isAsSaved(state: SchedulerState): boolean {
    const { domains, vcpus, running, queue, asked, global, numbers } = state
    const entries = [...this.vcpus.values()]
    const isOf = (entry: SchedulerUnit<V> | undefined, index: number | undefined): boolean => index !== undefined && entry === entries[index]
    return vcpus.length === entries.length && entries.every((entry, i) => sameUnit(entry, vcpus[i]!))
      && domains.length === this.domains.size && [...this.domains.values()].every((entry, i) => sameFields(entry, domains[i]!))
      && this.running.every((entry, cpu) => isOf(entry, running[cpu]))
      && queue.length === this.queue.length && this.queue.every((entry, i) => isOf(entry, queue[i]))
      && this.asked.every((one, cpu) => one === asked.includes(cpu)) && sameState(this.global, global) && sameState(this.numbers, numbers)
  }

  /** The domains and vCPUs have been added; those that the saved scheduler did not have any more are removed. */
  load(state: SchedulerState): void {
    if (state.kind !== this.name || state.cpus !== this.cpuCount) {
      throw badState(`it is of ${state.cpus} CPUs under ${state.kind}`)
    }
    const global = changed(this.globalTable, this.global, state.global)
    checkNumbers(this.numbers, state.numbers)
    const domains = state.domains.map((saved) => this.checkDomain(saved))
    const vcpus = state.vcpus.map((saved) => this.checkVcpu(saved, domains))
    checkPlaces(state)
    const asked = cpuSet(this.cpuCount, state.asked)
    if (new Set(domains).size !== domains.length || new Set(vcpus).size !== vcpus.length) throw badState('something is there twice')
    // From here on nothing is refused.
    this.global = global
    Object.assign(this.numbers, state.numbers)
    this.domains.clear()
    state.domains.forEach((saved, i) => this.takeDomain(domains[i]!, saved))
    this.vcpus.clear()
    state.vcpus.forEach((saved, i) => this.takeVcpu(vcpus[i]!, saved))
    state.running.forEach((index, cpu) => {
      this.running[cpu] = vcpus[index]
      if (index >= 0) vcpus[index]!.cpu = cpu
      this.asked[cpu] = asked.has(cpu)
    })
    this.queue.splice(0, this.queue.length, ...state.queue.map((index) => vcpus[index]!))
  }

  /** Why a vCPU cannot have these numbers of the algorithm's own; undefined when it can. */
  protected judgeNumbers(_numbers: Readonly<Record<string, number>>): string | undefined {
    return undefined
  }

  /** Other CPUs are served, and every vCPU knows which it may use. */
  protected cpusChanged(): void {}

  /** Finds out which CPUs a vCPU may use; one that could use none of those that there are may use all. */
  private limit(entry: SchedulerUnit<V>): void {
    const usable = [...entry.hard].filter((cpu) => this.served.has(cpu))
    if (usable.length === 0 && this.served.count > 0) entry.hard = allCpus(this.cpuCount)
    entry.usable = usable.length === 0 || usable.length === this.served.count ? this.served : cpuSet(this.cpuCount, usable)
  }

  /** The CPU to ask after a vCPU's affinity has changed, or -1. */
  protected affinityChanged(entry: SchedulerUnit<V>, _now: number): number {
    if (entry.cpu >= 0) return entry.cpu
    return entry.runnable ? this.idleCpuFor(entry) : -1
  }

  /** The entry of a vCPU that must exist. */
  protected entryOf(vcpu: V): SchedulerUnit<V> {
    const entry = this.vcpus.get(vcpu)
    if (entry === undefined) {
      throw new XenError('INVALID_ARGUMENT', `vCPU ${vcpu.vcpu} of domain ${vcpu.domid} is not scheduled here`)
    }
    return entry
  }

  /** The entry of a domain that must exist. */
  protected domainOf(domid: DomId): DomainEntry {
    const entry = this.domains.get(domid)
    if (entry === undefined) throw new XenError('DOMAIN_NOT_FOUND', `domain ${domid} is not scheduled here`)
    return entry
  }

  /** Takes a vCPU out of the queue. */
  protected dequeue(entry: SchedulerUnit<V>): void {
    const at = this.queue.indexOf(entry)
    if (at < 0) return
    // hot path: mostly the last one waits alone, and taking it off allocates nothing.
    if (at === this.queue.length - 1) this.queue.pop()
    else this.queue.splice(at, 1)
  }

  /** Takes what runs off its CPU and charges it; undefined when the CPU was idle. */
  protected stop(cpu: number, now: number): SchedulerUnit<V> | undefined {
    this.asked[cpu] = false
    const entry = this.running[cpu]
    if (entry === undefined) return undefined
    if (entry.runnable) this.charge(entry, now)
    entry.cpu = -1
    this.running[cpu] = undefined
    return entry
  }

  /** Puts a vCPU, or nothing, on a CPU. */
  protected start(cpu: number, entry: SchedulerUnit<V> | undefined, now: number): void {
    this.running[cpu] = entry
    if (entry === undefined) return
    this.dequeue(entry)
    entry.cpu = cpu
    entry.since = now
  }

  /**
   * An idle CPU that the vCPU may use and that nobody is to ask yet, one of its soft affinity before others; -1 for
   * none.
   */
  protected idleCpuFor(entry: SchedulerUnit<V>): number {
    let found = -1
    for (let cpu = 0; cpu < this.cpuCount; cpu += 1) {
      if (this.running[cpu] !== undefined || this.asked[cpu] || !entry.usable.has(cpu)) continue
      if (entry.soft.has(cpu)) return cpu
      if (found < 0) found = cpu
    }
    return found
  }

  /** Notes that the caller is being told to ask this CPU, so that the next vCPU names another one. */
  protected ask(cpu: number): number {
    if (cpu >= 0) this.asked[cpu] = true
    return cpu
  }

  /** The idle CPU that should take a displaced vCPU; `self` is the one that has just been asked. */
  protected askFor(displaced: SchedulerUnit<V> | undefined, self: number): number {
    if (displaced === undefined) return -1
    const cpu = this.idleCpuFor(displaced)
    return cpu === self ? -1 : this.ask(cpu)
  }

  /** True when a vCPU that waits could run on a CPU now. */
  protected mayRunOn(entry: SchedulerUnit<V>, cpu: number, _now: number): boolean {
    return entry.usable.has(cpu)
  }

  /** Puts a vCPU that somebody else has displaced into the queue. */
  protected requeue(entry: SchedulerUnit<V>): void {
    this.queue.push(entry)
  }

  /** A vCPU has been taken off its CPU. */
  protected takenOff(_entry: SchedulerUnit<V>): void {}

  /** A vCPU was put on a CPU by somebody else's word; until when it may stay. */
  protected putOn(_entry: SchedulerUnit<V>, _now: number): number {
    return Infinity
  }

  /** Does what somebody else has decided, or goes on alone where that one says nothing. */
  private obey(director: Director, cpu: number, now: number): Decision<V> {
    const running = this.running[cpu]
    if (running?.runnable === true) this.charge(running, now)
    const current = running?.runnable === true && this.mayRunOn(running, cpu, now) ? running : undefined
    const candidates: V[] = current === undefined ? [] : [current.ref]
    for (const entry of this.queue) if (this.mayRunOn(entry, cpu, now)) candidates.push(entry.ref)
    if (candidates.length === 0) return this.plan(cpu, now)
    const order = director.decide({ cpu, now, current: current?.ref, candidates })
    if (order === undefined) return this.plan(cpu, now)
    const chosen = candidates.find((ref) => ref === order.vcpu)
    const { vcpu, until, alsoAsk } = chosen === undefined ? this.plan(cpu, now) : this.place(cpu, this.entryOf(chosen), now)
    return { vcpu, until: Math.max(Math.min(until, order.until), now + 1), alsoAsk }
  }

  private place(cpu: number, entry: SchedulerUnit<V>, now: number): Decision<V> {
    const previous = this.stop(cpu, now)
    if (previous !== undefined) this.takenOff(previous)
    const displaced = previous?.runnable === true && previous !== entry ? previous : undefined
    if (displaced !== undefined) this.requeue(displaced)
    this.start(cpu, entry, now)
    return { vcpu: entry.ref, until: this.putOn(entry, now), alsoAsk: this.askFor(displaced, cpu) }
  }

  /** A busy CPU that a vCPU which has woken could take, for whoever decides; -1 for none. */
  private busyCpuFor(entry: SchedulerUnit<V>, now: number): number {
    return this.running.findIndex((running, cpu) => running !== undefined && !this.asked[cpu] && this.mayRunOn(entry, cpu, now))
  }

  private checkDomain({ domid, parameters, numbers }: SavedDomain): DomainEntry {
    const entry = this.domains.get(domid as DomId)
    if (entry === undefined) throw badState(`domain ${domid} is not there`)
    changed(this.domainTable, entry.parameters, parameters)
    checkNumbers(entry.numbers, numbers)
    return entry
  }

  private checkVcpu(saved: SavedVcpu, domains: readonly DomainEntry[]): SchedulerUnit<V> {
    const name = `vCPU ${saved.vcpu} of domain ${saved.domid}`
    const entry = [...this.vcpus.values()].find(({ ref }) => ref.domid === saved.domid && ref.vcpu === saved.vcpu)
    if (entry === undefined || !domains.includes(entry.domain)) throw badState(`${name} is not there`)
    checkNumbers(entry.numbers, saved.numbers)
    const wrong = this.judgeNumbers(saved.numbers)
    if (wrong !== undefined) throw badState(`${name} ${wrong}`)
    if (cpuSet(this.cpuCount, saved.hard).count === 0) throw badState(`${name} has no CPU to run on`)
    cpuSet(this.cpuCount, saved.soft)
    return entry
  }

  private takeDomain(entry: DomainEntry, { parameters, numbers }: SavedDomain): void {
    this.domains.set(entry.domid, entry)
    entry.parameters = changed(this.domainTable, entry.parameters, parameters)
    entry.vcpuCount = 0
    Object.assign(entry.numbers, numbers)
  }

  private takeVcpu(entry: SchedulerUnit<V>, saved: SavedVcpu): void {
    this.vcpus.set(entry.ref, entry)
    entry.domain.vcpuCount += 1
    entry.runnable = saved.runnable
    entry.cpu = -1
    entry.since = saved.since
    entry.hard = cpuSet(this.cpuCount, saved.hard)
    entry.soft = cpuSet(this.cpuCount, saved.soft)
    this.limit(entry)
    Object.assign(entry.numbers, saved.numbers)
  }
}
