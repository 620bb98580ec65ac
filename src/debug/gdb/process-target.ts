/** Processes of a domain's Linux as GDB's: threads by the guest's own numbers. The domain stands and runs as a whole; what stops it is of the processes that GDB lets run. */
import type { Domain } from '../../toolstack/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { Ground, GroundRun } from '../inferior/ground.ts'
import type { Stop, ThreadPlace } from '../inferior/stop.ts'
import type { Watchpoint } from '../inferior/watchpoint.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'
import type { GuestProcess } from '../processes/guest-process.ts'
import { ProcessInferior } from '../processes/process-inferior.ts'
import type { TargetFacts } from './register-table.ts'
import type { GdbProcess, GdbTarget, TargetRun } from './target.ts'

/** A program's base of GS is the one that a context calls the user's. */
const FACTS: TargetFacts = { width: 64, translated: true, isProgram: true }

/** A process. */
class TaskProcess implements GdbProcess {
  readonly facts = FACTS
  readonly process: GuestProcess

  constructor(process: GuestProcess) {
    this.process = process
  }

  get number(): number {
    return this.process.tgid
  }

  threads(): readonly number[] {
    return this.process.threads()
  }

  nameOf(thread: number): string {
    return this.process.nameOf(thread)
  }

  vcpuOf(thread: number): number | undefined {
    return this.process.vcpuOf(thread)
  }

  context(thread: number): ThreadContext | undefined {
    return this.process.context(thread)
  }

  setContext(thread: number, context: ThreadContext): Promise<boolean> {
    return this.process.setContext(thread, context)
  }

  read(address: bigint, length: number): Uint8Array {
    return this.process.read(address, length)
  }

  write(address: bigint, bytes: Uint8Array): Promise<boolean> {
    return this.process.write(address, bytes)
  }

  addBreakpoint(address: bigint): void {
    this.process.places.breakpoints.add(address)
  }

  removeBreakpoint(address: bigint): void {
    this.process.places.breakpoints.delete(address)
  }

  addWatchpoint(watch: Watchpoint): void {
    this.process.places.addWatchpoint(watch)
  }

  removeWatchpoint(watch: Watchpoint): void {
    this.process.places.removeWatchpoint(watch)
  }

  auxiliary(): Uint8Array | undefined {
    return this.process.auxiliary()
  }
}

/** Processes of one domain. */
export class ProcessTarget implements GdbTarget {
  readonly ground: Ground
  private readonly inferior: ProcessInferior
  private readonly known = new Map<GuestProcess, TaskProcess>()

  /** Throws NOT_SUPPORTED where there is none. */
  constructor(ground: Ground, domid: DomId, wanted: readonly (number | string)[] | 'all') {
    this.ground = ground
    this.inferior = new ProcessInferior(domid, ground, wanted)
    if (this.processes().length === 0) throw new XenError('NOT_SUPPORTED', 'no 64-bit Linux with its symbols and types, or none of these processes', { details: { domid } })
    ground.take(this.inferior)
  }

  processes(): readonly GdbProcess[] {
    return this.inferior.processes().map((process) => {
      const known = this.known.get(process) ?? new TaskProcess(process)
      this.known.set(process, known)
      return known
    })
  }

  domainOf(): Domain | undefined {
    return this.inferior.domain
  }

  placeOf(stop: Stop): ThreadPlace | undefined {
    if (stop.type === 'ended') return undefined
    if (stop.place !== undefined) return stop.place
    const all = this.processes()
    const places = all.flatMap((one) => one.threads().map((thread) => ({ process: one.number, thread, vcpu: one.vcpuOf(thread) })))
    // Whoever runs, of those that were let run; else any.
    const own = places.filter(({ process }) => this.inferior.plan.running.size === 0 || this.inferior.plan.running.has(process))
    const found = own.find(({ vcpu }) => vcpu !== undefined) ?? own[0] ?? places[0]
    return found && { process: found.process, thread: found.thread }
  }

  async run({ running, steps }: TargetRun): Promise<Stop> {
    this.inferior.plan = { running, steps: new Set(steps.map(({ thread }) => thread)) }
    const stop = await this.ground.run(this.groundRun())
    this.inferior.moved()
    if (stop.type !== 'ended') return stop
    if (stop.process !== undefined) this.inferior.forget(stop.process.number)
    // With the domain all are gone, one of which can be told of at a time.
    return stop.process === undefined ? { ...stop, process: { number: [...running][0] ?? 0, status: 0 } } : stop
  }

  async back(step: ThreadPlace | undefined): Promise<Stop> {
    const { inferior } = this
    inferior.plan = { running: new Set(this.processes().map(({ number }) => number)), steps: new Set() }
    const where = { domid: inferior.domid, vcpu: 0 }
    const stop = await this.ground.back(this.groundRun(), step && { ...where, next: inferior.pcOf(step.thread), accepts: inferior.owns(step.thread) })
    inferior.moved()
    return step === undefined || stop.type !== 'step' ? stop : { ...stop, place: step }
  }

  moved(): void {
    this.inferior.moved()
  }

  leave(process: GdbProcess): void {
    this.inferior.forget(process.number)
    if (this.processes().length === 0) this.ground.leave(this.inferior)
  }

  /** Only its kernel could end it. */
  kill(): boolean {
    return false
  }

  release(): void {
    this.ground.leave(this.inferior)
    this.ground.release()
  }

  private groundRun(): GroundRun {
    return { inferiors: [this.inferior], running: new Set([this.inferior.domid]), steps: new Set() }
  }
}
