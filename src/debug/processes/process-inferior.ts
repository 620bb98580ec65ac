/**
 * A domain whose processes are debugged: which of its vCPUs' instructions and accesses are of which process, and what of it stops the domain. Places of a process are looked for wherever
 * their addresses are executed or accessed, and belong to it only where the task that runs is one of its own.
 * Reference: Linux, kernel/exit.c (do_exit), kernel/time/posix-timers.c (exit_itimers).
 */
import type { TraceHooks, TracedAccess, TracedInstruction } from '../../machine/index.ts'
import type { Domain, Host } from '../../toolstack/index.ts'
import type { DomId } from '../../util/index.ts'
import { GPR } from '../../x86/index.ts'
import type { Following, GroundInferior, InferiorGround } from '../inferior/ground.ts'
import type { Stop, ThreadPlace } from '../inferior/stop.ts'
import { overlaps } from '../inferior/watchpoint.ts'
import { linux, type LinuxView } from '../linux/linux-view.ts'
import { attempt } from '../memory/virtual-memory.ts'
import { GuestProcess, type ProcessGround, type ProcessSight } from './guest-process.ts'
import { GuestTasks, type TaskIdentity } from './guest-tasks.ts'

/** What runs, and what of it is looked for. */
export interface ProcessPlan {
  /** Processes whose places stop the domain. */
  readonly running: ReadonlySet<number>
  /** Threads that stop behind one instruction of their own. */
  readonly steps: ReadonlySet<number>
}

interface Seen {
  readonly view: LinuxView
  readonly tasks: GuestTasks
}

const NOTHING: ProcessPlan = { running: new Set(), steps: new Set() }
const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(address))
const signed = (address: bigint): number => Number(BigInt.asIntN(64, address))

/** A domain with its processes. */
export class ProcessInferior implements GroundInferior, ProcessGround {
  readonly domid: DomId
  /** What runs next. */
  plan = NOTHING
  /** What threads have left that ended last, by their processes. */
  readonly statuses = new Map<number, number>()
  private readonly ground: InferiorGround
  private readonly wanted: readonly (number | string)[] | 'all'
  private readonly known = new Map<number, GuestProcess>()
  /** Processes that have been told to have ended, or were left. */
  private readonly gone = new Set<number>()
  private readonly seen = new WeakMap<Host, Seen | undefined>()
  private present: { readonly host: Host; readonly sight: ProcessSight | undefined } | undefined

  constructor(domid: DomId, ground: InferiorGround, wanted: readonly (number | string)[] | 'all') {
    this.domid = domid
    this.ground = ground
    this.wanted = wanted
  }

  /** The host as it is at the place at which the debugger stands. */
  get host(): Host {
    return this.ground.host
  }

  /** The domain, where it is there. */
  get domain(): Domain | undefined {
    return this.host.domains().find(({ id }) => id === this.domid)
  }

  vcpus(): readonly number[] {
    return this.domain?.vcpus().map(({ vcpu }) => vcpu) ?? []
  }

  async change(apply: (host: Host) => boolean): Promise<boolean> {
    const isChanged = await this.ground.change(apply)
    this.moved()
    return isChanged
  }

  /** It was brought elsewhere, or has run. */
  moved(): void {
    this.present = undefined
  }

  /** Processes that are wanted and there. */
  processes(): readonly GuestProcess[] {
    const { wanted } = this
    const threads = this.sight()?.threads ?? []
    const there = new Set(threads.map(({ tgid }) => tgid))
    // A number may be given again.
    for (const tgid of this.gone) if (!there.has(tgid)) this.gone.delete(tgid)
    return threads
      .filter(({ pid, tgid, name }) => pid === tgid && !this.gone.has(tgid) && (wanted === 'all' || wanted.includes(name) || wanted.includes(tgid) || this.known.has(tgid)))
      .map(({ tgid }) => this.process(tgid))
  }

  /** Asks no more for a process. */
  forget(tgid: number): void {
    this.gone.add(tgid)
    this.statuses.delete(tgid)
    this.known.delete(tgid)
  }

  sight(): ProcessSight | undefined {
    const { host } = this
    if (this.present?.host === host) return this.present.sight
    const tasks = this.seenOn(host)?.tasks
    const running = new Map(this.vcpus().flatMap((vcpu) => {
      const current = tasks?.current(vcpu)
      return current === undefined ? [] : [[current.pid, vcpu] as const]
    }))
    const sight = tasks && { tasks, threads: tasks.threads(), running }
    this.present = { host, sight }
    return sight
  }

  wants(stop: Stop): boolean {
    const places = (stop.type === 'breakpoint' || stop.type === 'watchpoint') && stop.place !== undefined && this.plan.running.has(stop.place.process) ? this.known.get(stop.place.process)?.places : undefined
    return stop.type === 'breakpoint' ? places?.breakpoints.has(stop.address) === true : stop.type === 'watchpoint' && places?.watchpoints.has(stop.watch) === true
  }

  hooks(vcpu: number, { host, stop, isBack }: Following): TraceHooks | undefined {
    const seen = this.seenOn(host)
    if (seen === undefined || this.plan.running.size === 0) return undefined
    const running = [...this.plan.running].flatMap((tgid) => this.known.get(tgid) ?? [])
    const [begins, ends] = isBack === true ? [] : ['do_exit', 'exit_itimers'].map((name) => seen.view.addressOf(name))
    const watches = running.flatMap(({ places: { watchpoints } }) => [...watchpoints])
    const tell = (reason: Stop, cost = 0): 'stop' => {
      stop(reason, cost)
      return 'stop'
    }
    const places = new Set(running.flatMap(({ places: { breakpoints } }) => [...breakpoints].map(signed)))
    const visit = new Visit(this, { tasks: seen.tasks, vcpu, tell, places })
    return {
      breakpoints: begins === undefined || ends === undefined ? places : new Set([...places, begins, ends]),
      breakpoint: (event) => (event.address === begins ? visit.beginsToEnd(event) : event.address === ends ? visit.ends(event) : visit.meets(event)),
      ...(isBack !== true && this.isLookedAtEach(running) && { instruction: visit.steps(this.plan.steps, (pid) => this.pcOf(pid)) }),
      ...(watches.length > 0 && {
        watchpoints: watches.map(({ address, length, kind }) => ({ space: 'linear', address: signed(address), length, kind }) as const),
        watchpoint: (event) => visit.touches(event),
      }),
    }
  }

  /** Tells of every instruction of the domain's vCPUs whether it is one of a thread's own. */
  owns(pid: number): (event: TracedInstruction, where: { readonly host: Host; readonly vcpu: number }) => boolean {
    const runners = new Map<number, Runner>()
    return (event, { host, vcpu }) => {
      const tasks = this.seenOn(host)?.tasks
      const runner = runners.get(vcpu) ?? new Runner()
      runners.set(vcpu, runner)
      return tasks !== undefined && runner.of(event, () => tasks.current(vcpu))?.pid === pid
    }
  }

  /** Where a thread stands. */
  pcOf(pid: number): number | undefined {
    const thread = this.sight()?.threads.find((one) => one.pid === pid)
    const rip = thread && this.known.get(thread.tgid)?.context(pid)?.user.rip
    return rip === undefined ? undefined : signed(rip)
  }

  /** One that runs, and that a debugger knows. */
  runningProcess(tgid: number): GuestProcess | undefined {
    return this.plan.running.has(tgid) ? this.known.get(tgid) : undefined
  }

  /** Each instruction is looked at for a step, and for a place on a stack, as gdb has functions return to: what cannot be fetched is met before it faults. */
  private isLookedAtEach(running: readonly GuestProcess[]): boolean {
    return this.plan.steps.size > 0 || running.some((process) => [...process.places.breakpoints].some((address) => process.isData(address)))
  }

  private process(tgid: number): GuestProcess {
    const process = this.known.get(tgid) ?? new GuestProcess(tgid, this)
    this.known.set(tgid, process)
    return process
  }

  private seenOn(host: Host): Seen | undefined {
    if (this.seen.has(host)) return this.seen.get(host)
    const view = attempt(() => linux(host, this.domid))
    const tasks = view && GuestTasks.of(view)
    const seen = view && tasks && { view, tasks }
    this.seen.set(host, seen)
    return seen
  }
}

/** Whose a vCPU's instructions are: between two of the kernel's it is the same task. */
class Runner {
  private known: { readonly task: TaskIdentity | undefined; count: number } | undefined

  /** The task of an instruction; undefined for one of the kernel's. */
  of({ address, count }: TracedInstruction, current: () => TaskIdentity | undefined): TaskIdentity | undefined {
    if (address < 0) {
      this.known = undefined
      return undefined
    }
    // Where instructions are missing the vCPU was elsewhere meanwhile.
    const isNext = this.known !== undefined && count - this.known.count >= 0 && count - this.known.count <= 1
    if (this.known === undefined || !isNext) this.known = { task: current(), count }
    this.known.count = count
    return this.known.task
  }
}

/** What a visit needs. */
interface VisitParts {
  readonly tasks: GuestTasks
  readonly vcpu: number
  readonly places: ReadonlySet<number>
  tell(stop: Stop, cost?: number): 'stop'
}

/** What one vCPU does between two stops. */
class Visit {
  private readonly inferior: ProcessInferior
  private readonly tasks: GuestTasks
  private readonly vcpu: number
  private readonly tell: VisitParts['tell']
  /** Addresses of all breakpoints. */
  private readonly places: ReadonlySet<number>
  /** What was told last: before the same instruction nothing is told twice. */
  private told: { readonly address: number; readonly count: number } | undefined

  constructor(inferior: ProcessInferior, { tasks, vcpu, tell, places }: VisitParts) {
    this.places = places
    this.inferior = inferior
    this.tasks = tasks
    this.vcpu = vcpu
    this.tell = tell
  }

  /** A place that some process has stops its own threads. */
  meets(event: TracedInstruction): 'stop' | undefined {
    const place = this.places.has(event.address) ? this.place() : undefined
    if (place === undefined || this.inferior.runningProcess(place.process)?.places.breakpoints.has(unsigned(event.address)) !== true || this.isTold(event)) return undefined
    return this.tell({ type: 'breakpoint', domid: this.inferior.domid, vcpu: this.vcpu, address: unsigned(event.address), place })
  }

  /** An access, by the process or for it. */
  touches({ kind, address, size, cost }: TracedAccess): 'stop' | undefined {
    const place = this.place()
    const process = place && this.inferior.runningProcess(place.process)
    for (const watch of process?.places.watchpoints ?? []) {
      if ((watch.kind === 'access' || watch.kind === kind) && overlaps(watch, unsigned(address), size)) return this.tell({ type: 'watchpoint', domid: this.inferior.domid, vcpu: this.vcpu, watch, place }, cost)
    }
    return undefined
  }

  /** A thread begins to end, with a status for whoever waits. */
  beginsToEnd(event: TracedInstruction): undefined {
    const current = this.tasks.current(this.vcpu)
    if (current !== undefined && this.inferior.runningProcess(current.tgid) !== undefined) this.inferior.statuses.set(current.tgid, event.registers.low(GPR.rdi) & 0xffff)
  }

  /** Timers of a process are ended behind its last thread, and as it executes another program. */
  ends(event: TracedInstruction): 'stop' | undefined {
    const current = this.tasks.current(this.vcpu)
    if (current === undefined || this.inferior.runningProcess(current.tgid) === undefined || this.tasks.isAlive(current.task) || this.isTold(event)) return undefined
    return this.tell({ type: 'ended', domid: this.inferior.domid, reason: 'exit', process: { number: current.tgid, status: this.inferior.statuses.get(current.tgid) ?? 0 } })
  }

  /** Threads that are stepped: an instruction that the kernel has begun anew counts once. */
  steps(threads: ReadonlySet<number>, pcOf: (pid: number) => number | undefined): NonNullable<TraceHooks['instruction']> {
    const from = new Map([...threads].map((pid) => [pid, pcOf(pid)] as const))
    const fetched = new Map<number, number>()
    const runner = new Runner()
    let isFromKernel = true
    return (event) => {
      const current = runner.of(event, () => this.tasks.current(this.vcpu))
      if (event.address < 0) isFromKernel = true
      if (current === undefined) return undefined
      if (!from.has(current.pid)) return this.meets(event)
      const place = { process: current.tgid, thread: current.pid }
      const isBegin = from.get(place.thread) === event.address && (isFromKernel || !fetched.has(place.thread) || fetched.get(place.thread) === event.count)
      isFromKernel = false
      fetched.set(place.thread, event.count)
      if (isBegin || this.isTold(event)) return undefined
      const { domid } = this.inferior
      const isPlace = this.inferior.runningProcess(place.process)?.places.breakpoints.has(unsigned(event.address)) === true
      return this.tell(isPlace ? { type: 'breakpoint', domid, vcpu: this.vcpu, address: unsigned(event.address), place } : { type: 'step', domid, vcpu: this.vcpu, place })
    }
  }

  private place(): ThreadPlace | undefined {
    const current = this.tasks.current(this.vcpu)
    return current && { process: current.tgid, thread: current.pid }
  }

  private isTold({ address, count }: TracedInstruction): boolean {
    if (this.told?.address === address && this.told.count === count) return true
    this.told = { address, count }
    return false
  }
}
