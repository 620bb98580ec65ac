/**
 * A host that only schedules: vCPUs that run and sleep by a pattern, CPUs that ask when told to, and a count of the
 * time that each vCPU has had. It checks after every step what holds for all schedulers.
 */
import {
  createScheduler, type Scheduler, type SchedulerName, type VcpuRef,
} from '../../src/hypervisor/scheduler/index.ts'
import { domId, type DomId } from '../../src/util/index.ts'

export const MS = 1_000_000
export const SECOND = 1000 * MS

export interface SimulatedVcpu extends VcpuRef {
  /** Nanoseconds that it has run. */
  time: number
  cpu: number
  runnable: boolean
  readonly pattern: Pattern
  /** Time left to run before it sleeps, and when it wakes. */
  runLeft: number
  wakeAt: number
  /** Longest time between waking and running. */
  worstWait: number
  readySince: number
}

/** Runs for a while, sleeps for a while; without one a vCPU always runs. */
export interface Pattern {
  readonly run: number
  readonly sleep: number
}

interface Cpu {
  current: SimulatedVcpu | undefined
  until: number
  since: number
  idle: number
  ask: boolean
}

const ALWAYS: Pattern = { run: Infinity, sleep: 0 }

export class ScheduleRun {
  readonly scheduler: Scheduler<SimulatedVcpu>
  readonly vcpus: SimulatedVcpu[] = []
  now = 0
  switches = 0
  private readonly cpus: Cpu[]
  /** True while an idle CPU beside a vCPU that waits and could run there is an error. */
  workConserving = true

  constructor(name: SchedulerName, cpuCount: number) {
    this.scheduler = createScheduler(name, cpuCount)
    this.cpus = Array.from({ length: cpuCount }, () => (
      { current: undefined, until: Infinity, since: 0, idle: 0, ask: false }
    ))
  }

  /** A domain with as many vCPUs as patterns, all of them awake. */
  domain(id: number, patterns: readonly (Pattern | undefined)[] = [undefined]): { id: DomId; vcpus: SimulatedVcpu[] } {
    this.scheduler.addDomain(domId(id))
    const vcpus = patterns.map((pattern = ALWAYS, vcpu): SimulatedVcpu => ({
      domid: domId(id), vcpu, time: 0, cpu: -1, runnable: false, pattern, runLeft: pattern.run, wakeAt: Infinity,
      worstWait: 0, readySince: this.now,
    }))
    for (const vcpu of vcpus) {
      this.vcpus.push(vcpu)
      this.scheduler.addVcpu(vcpu, this.now)
      this.wake(vcpu)
    }
    return { id: domId(id), vcpus }
  }

  pin(vcpu: SimulatedVcpu, affinity: { hard?: number[]; soft?: number[] }): void {
    this.askLater(this.scheduler.setAffinity(vcpu, affinity, this.now))
  }

  wake(vcpu: SimulatedVcpu): void {
    vcpu.runnable = true
    vcpu.wakeAt = Infinity
    vcpu.runLeft = vcpu.pattern.run
    vcpu.readySince = this.now
    this.askLater(this.scheduler.wake(vcpu, this.now))
  }

  sleep(vcpu: SimulatedVcpu, wakeAt = Infinity): void {
    vcpu.runnable = false
    vcpu.wakeAt = wakeAt
    this.scheduler.sleep(vcpu, this.now)
    if (vcpu.cpu >= 0) this.askLater(vcpu.cpu)
  }

  remove(vcpu: SimulatedVcpu): void {
    if (vcpu.cpu >= 0) this.stop(this.cpus[vcpu.cpu]!)
    this.askLater(this.scheduler.removeVcpu(vcpu, this.now))
    this.vcpus.splice(this.vcpus.indexOf(vcpu), 1)
  }

  askLater(cpu: number): void {
    if (cpu >= 0) this.cpus[cpu]!.ask = true
  }

  /** Runs for `duration` and forgets the times counted before. */
  measure(duration: number, warmUp = SECOND): void {
    this.run(warmUp)
    for (const vcpu of this.vcpus) Object.assign(vcpu, { time: 0, worstWait: 0 })
    for (const cpu of this.cpus) cpu.idle = 0
    this.run(duration)
  }

  /** Runs for `duration`. */
  run(duration: number): void {
    const end = this.now + duration
    this.settle()
    while (this.now < end) {
      const next = Math.min(
        end,
        ...this.cpus.map(({ until, current, since }) => Math.min(until, since + (current?.runLeft ?? Infinity))),
        ...this.vcpus.map(({ wakeAt }) => wakeAt),
      )
      this.advance(next)
      for (const vcpu of this.vcpus) if (vcpu.wakeAt <= this.now) this.wake(vcpu)
      for (const { current } of this.cpus) {
        if (current?.runnable !== true || current.runLeft > 0) continue
        this.sleep(current, this.now + current.pattern.sleep)
      }
      this.cpus.forEach((cpu, index) => { if (cpu.until <= this.now) this.askLater(index) })
      this.settle()
    }
  }

  /** Share of one CPU that each vCPU of a domain has had since `measure`, added up. */
  share(domid: number, duration: number): number {
    return this.vcpus.filter((vcpu) => vcpu.domid === domid).reduce((sum, vcpu) => sum + vcpu.time, 0) / duration
  }

  /** Time that all CPUs together were idle. */
  get idle(): number {
    return this.cpus.reduce((sum, cpu) => sum + cpu.idle, 0)
  }

  /** What runs on a CPU. */
  on(cpu: number): SimulatedVcpu | undefined {
    return this.cpus[cpu]!.current
  }

  private advance(time: number): void {
    for (const cpu of this.cpus) {
      const passed = time - cpu.since
      cpu.since = time
      if (cpu.current === undefined) cpu.idle += passed
      else {
        cpu.current.time += passed
        cpu.current.runLeft -= passed
      }
    }
    this.now = time
  }

  private settle(): void {
    for (let round = 0; this.cpus.some(({ ask }) => ask); round += 1) {
      if (round > 1000) throw new Error('the CPUs ask each other without end')
      this.cpus.forEach((cpu, index) => { if (cpu.ask) this.ask(cpu, index) })
    }
    this.check()
  }

  private ask(cpu: Cpu, index: number): void {
    cpu.ask = false
    const before = cpu.current
    this.stop(cpu)
    const { vcpu, until, alsoAsk } = this.scheduler.schedule(index, this.now)
    if (until <= this.now) throw new Error(`CPU ${index} is to ask again at ${until}, but it is ${this.now} already`)
    if (vcpu !== undefined && vcpu.cpu >= 0) throw new Error(`vCPU ${vcpu.domid}.${vcpu.vcpu} runs twice`)
    if (vcpu !== undefined && !vcpu.runnable) throw new Error(`vCPU ${vcpu.domid}.${vcpu.vcpu} sleeps and was chosen`)
    const allowed = vcpu === undefined || this.scheduler.affinity(vcpu).hard.includes(index)
    if (!allowed) throw new Error(`CPU ${index} is forbidden`)
    if (vcpu !== before) this.switches += 1
    cpu.current = vcpu
    cpu.until = until
    if (vcpu !== undefined) {
      vcpu.cpu = index
      if (vcpu.readySince >= 0) vcpu.worstWait = Math.max(vcpu.worstWait, this.now - vcpu.readySince)
      vcpu.readySince = -1
    }
    if (alsoAsk === index) throw new Error(`CPU ${index} is to ask itself`)
    this.askLater(alsoAsk)
  }

  private stop(cpu: Cpu): void {
    if (cpu.current !== undefined) cpu.current.cpu = -1
    cpu.current = undefined
  }

  private check(): void {
    if (!this.workConserving) return
    const idle = this.cpus.flatMap((cpu, index) => (cpu.current === undefined ? [index] : []))
    if (idle.length === 0) return
    for (const vcpu of this.vcpus) {
      if (!vcpu.runnable || vcpu.cpu >= 0) continue
      const { hard } = this.scheduler.affinity(vcpu)
      const wasted = idle.find((cpu) => hard.includes(cpu))
      const name = `${vcpu.domid}.${vcpu.vcpu}`
      if (wasted !== undefined) throw new Error(`CPU ${wasted} idles at ${this.now} while ${name} waits`)
    }
  }
}

/**
 * Exact shares of `cpus` CPUs: by weight, but nobody gets more than its limit (one CPU for each vCPU, or its cap),
 * and what that leaves goes to the others by weight.
 */
export function exactShares(claims: readonly { weight: number; limit: number }[], cpus: number): number[] {
  const shares = claims.map(() => -1)
  for (;;) {
    const open = claims.map((claim, i) => ({ ...claim, i })).filter(({ i }) => shares[i] === -1)
    const left = cpus - shares.filter((share) => share >= 0).reduce((a, b) => a + b, 0)
    const weight = open.reduce((sum, claim) => sum + claim.weight, 0)
    const full = open.filter((claim) => (left * claim.weight) / weight >= claim.limit)
    if (full.length === 0) {
      for (const claim of open) shares[claim.i] = (left * claim.weight) / weight
      return shares
    }
    for (const claim of full) shares[claim.i] = claim.limit
    if (full.length === open.length) return shares
  }
}
