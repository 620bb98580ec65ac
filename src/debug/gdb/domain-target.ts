/** Domains as GDB's processes: a vCPU is a thread, with the number behind its own. */
import type { Domain, Host } from '../../toolstack/index.ts'
import { stepKey, type Ground, type GroundRun } from '../inferior/ground.ts'
import { Inferior } from '../inferior/inferior.ts'
import type { Stop, ThreadPlace } from '../inferior/stop.ts'
import type { Watchpoint } from '../inferior/watchpoint.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'
import type { TargetFacts } from './register-table.ts'
import type { GdbProcess, GdbTarget, TargetRun } from './target.ts'

/** A domain. */
class DomainProcess implements GdbProcess {
  readonly inferior: Inferior
  private readonly isAlone: () => boolean

  constructor(inferior: Inferior, isAlone: () => boolean) {
    this.inferior = inferior
    this.isAlone = isAlone
  }

  get number(): number {
    return this.inferior.domid
  }

  get facts(): TargetFacts {
    return this.inferior.facts
  }

  threads(): readonly number[] {
    return this.inferior.vcpus().map((vcpu) => vcpu + 1)
  }

  nameOf(thread: number): string {
    const name = this.inferior.domain?.name
    return this.isAlone() || name === undefined ? `vCPU ${thread - 1}` : `${name} vCPU ${thread - 1}`
  }

  vcpuOf(thread: number): number {
    return thread - 1
  }

  context(thread: number): ThreadContext | undefined {
    return this.inferior.registers(thread - 1)
  }

  setContext(thread: number, context: ThreadContext): Promise<boolean> {
    return this.inferior.setContext(thread - 1, context)
  }

  read(address: bigint, length: number): Uint8Array {
    return this.inferior.read(address, length)
  }

  write(address: bigint, bytes: Uint8Array): Promise<boolean> {
    return this.inferior.write(address, bytes)
  }

  addBreakpoint(address: bigint): void {
    this.inferior.addBreakpoint(address)
  }

  removeBreakpoint(address: bigint): void {
    this.inferior.removeBreakpoint(address)
  }

  addWatchpoint(watch: Watchpoint): void {
    this.inferior.addWatchpoint(watch)
  }

  removeWatchpoint(watch: Watchpoint): void {
    this.inferior.removeWatchpoint(watch)
  }

  auxiliary(): undefined {
    return undefined
  }
}

/** Domains of one host. */
export class DomainTarget implements GdbTarget {
  readonly ground: Ground
  private readonly host: Host
  private all: readonly DomainProcess[]

  /** `host`: the one that domains are ended on. */
  constructor(host: Host, ground: Ground, domids: readonly number[]) {
    this.host = host
    this.ground = ground
    this.all = domids.map((domid) => new DomainProcess(new Inferior(domid, ground), () => this.all.length <= 1))
    for (const { inferior } of this.all) ground.take(inferior)
  }

  processes(): readonly GdbProcess[] {
    return this.all
  }

  domainOf(process: number): Domain | undefined {
    return this.all.find(({ number }) => number === process)?.inferior.domain
  }

  placeOf(stop: Stop): ThreadPlace | undefined {
    return stop.type === 'ended' ? undefined : { process: stop.domid, thread: stop.vcpu + 1 }
  }

  run({ running, steps }: TargetRun): Promise<Stop> {
    return this.ground.run(this.groundRun(running, new Set(steps.map(({ process, thread }) => stepKey(process, thread - 1)))))
  }

  back(step: ThreadPlace | undefined): Promise<Stop> {
    const run = this.groundRun(new Set(this.all.map(({ number }) => number)), new Set())
    return this.ground.back(run, step === undefined ? undefined : { domid: step.process, vcpu: step.thread - 1 })
  }

  moved(): void {
    for (const { inferior } of this.all) inferior.moved()
  }

  leave(process: GdbProcess): void {
    const left = this.all.find((one) => one === process)
    this.all = this.all.filter((one) => one !== left)
    left?.inferior.clear()
    if (left !== undefined) this.ground.leave(left.inferior)
  }

  kill({ number }: GdbProcess): boolean {
    const domain = this.host.domains().find(({ id }) => id === number)
    void domain?.destroy().catch(() => undefined)
    return true
  }

  release(): void {
    this.ground.release()
  }

  private groundRun(running: ReadonlySet<number>, steps: ReadonlySet<string>): GroundRun {
    return { inferiors: this.all.map(({ inferior }) => inferior), running, steps }
  }
}
