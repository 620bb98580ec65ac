/** How a guest under an editor runs and stops: steps into, over and out of calls, backwards, and what the editor is told of it. */
import type { DebugProtocol } from '@vscode/debugprotocol'
import { disassemble } from '../../machine/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import { stepKey, type Ground, type GroundRun } from '../inferior/ground.ts'
import type { Inferior } from '../inferior/inferior.ts'
import type { Stop } from '../inferior/stop.ts'
import type { DapBreakpoints } from './dap-breakpoints.ts'
import type { DapValues } from './dap-values.ts'

/** What an instruction does that comes back behind it. */
const RETURNS = /^(call|syscall|int\b|rep|repz|repnz)/
const LONGEST = 15

/** A way of stepping forwards. */
export type StepKind = 'in' | 'over' | 'out'

type Standing = Exclude<Stop, { readonly type: 'ended' }>

/** What a runner needs. */
export interface RunnerParts {
  readonly ground: Ground
  readonly inferior: Inferior
  readonly values: DapValues
  readonly breakpoints: DapBreakpoints
  event(name: string, body: object): void
  told(stop: Standing): Omit<DebugProtocol.StoppedEvent['body'], 'threadId'>
}

/** Runs it. Threads are numbered from 1, a vCPU each. */
export class DapRunner {
  private readonly parts: RunnerParts
  /** The vCPU that stopped last. */
  vcpu = 0
  private running = false
  private isOver = false
  /** The editor has seen it stand: what it stands before does not stop it again. */
  private hasStood = false
  /** Breakpoints have changed while it runs: it stops and goes on with them. */
  private isChanged = false

  constructor(parts: RunnerParts) {
    this.parts = parts
    this.vcpu = parts.inferior.vcpus()[0] ?? 0
  }

  get isRunning(): boolean {
    return this.running
  }

  threads(): DebugProtocol.Thread[] {
    return this.parts.inferior.vcpus().map((vcpu) => ({ id: vcpu + 1, name: `vCPU ${vcpu}` }))
  }

  /** The vCPU of a thread. Throws INVALID_ARGUMENT. */
  vcpuOf(thread: number): number {
    if (!this.parts.inferior.vcpus().includes(thread - 1)) throw new XenError('INVALID_ARGUMENT', `there is no thread ${thread}`)
    return thread - 1
  }

  /** Tells that it stands where it stood when the editor came. */
  stand(): undefined {
    this.tell({ reason: 'entry' })
  }

  /** Lets it run. */
  start(): undefined {
    this.carry(() => this.run())
  }

  /** Steps a vCPU. Throws INVALID_STATE where nobody knows who called. */
  step(kind: StepKind, vcpu: number): undefined {
    const { values } = this.parts
    if (kind === 'out') {
      const [, caller] = values.stack(vcpu)
      if (caller === undefined) throw new XenError('INVALID_STATE', 'nobody knows who called')
      return this.carry(() => this.runTo(vcpu, { address: caller.ip, above: caller.sp - 1n }))
    }
    const next = kind === 'over' ? this.behindCall(vcpu) : undefined
    return this.carry(() => (next === undefined ? this.run(vcpu) : this.runTo(vcpu, next)))
  }

  /** Goes back: an instruction of a vCPU, or to where something last stopped it. Throws NOT_SUPPORTED where nothing is recorded. */
  back(vcpu: number | undefined): undefined {
    const { ground, inferior } = this.parts
    if (!ground.goesBack) throw new XenError('NOT_SUPPORTED', 'nothing is recorded: there is no way back')
    return this.carry(() => ground.back(this.what(), vcpu === undefined ? undefined : { domid: inferior.domid, vcpu }))
  }

  /** Changes places at which it stops; a guest that runs goes on with them. */
  changing<T>(change: () => T): T {
    const changed = change()
    if (this.running) {
      this.isChanged = true
      this.parts.ground.interrupt()
    }
    return changed
  }

  /** Stops it from outside. */
  pause(): undefined {
    this.isChanged = false
    this.parts.ground.interrupt()
  }

  /** The editor has gone. */
  end(): void {
    this.isOver = true
  }

  /** Behind an instruction that calls, and no deeper in the stack. */
  private behindCall(vcpu: number): { readonly address: bigint; readonly above: bigint } | undefined {
    const { inferior } = this.parts
    const user = inferior.context(vcpu)?.user
    if (user === undefined) return undefined
    const found = disassemble(inferior.read(user.rip, LONGEST), { address: Number(BigInt.asIntN(64, user.rip)), codeSize: inferior.facts.width })
    return RETURNS.test(found.text) ? { address: BigInt.asUintN(64, user.rip + BigInt(found.length)), above: user.rsp - 1n } : undefined
  }

  private what(vcpu?: number): GroundRun {
    const { inferior } = this.parts
    return { inferiors: [inferior], running: new Set([inferior.domid]), steps: new Set(vcpu === undefined ? [] : [stepKey(inferior.domid, vcpu)]) }
  }

  /** Runs until something stops it that the editor is to hear of. */
  private async run(step?: number): Promise<Stop> {
    for (;;) {
      const stop = await this.parts.ground.run(this.what(step))
      if (!this.isChanged || stop.type !== 'interrupt') return stop
      this.isChanged = false
    }
  }

  /** Runs until a vCPU is at an address with its stack above another, or something else stops it. */
  private async runTo(vcpu: number, { address, above }: { readonly address: bigint; readonly above: bigint }): Promise<Stop> {
    const { breakpoints, inferior } = this.parts
    const leave = breakpoints.pass(address)
    try {
      for (;;) {
        const stop = await this.run()
        if (stop.type !== 'breakpoint' || stop.address !== address || breakpoints.isWanted(address)) return stop
        const isThere = stop.vcpu === vcpu && (inferior.context(vcpu)?.user.rsp ?? 0n) > above
        if (isThere) return { type: 'step', domid: stop.domid, vcpu }
      }
    } finally {
      leave()
    }
  }

  /** Has it run, and tells what came of it. */
  private carry(work: () => Promise<Stop>): undefined {
    this.running = true
    this.isChanged = false
    this.parts.values.forget()
    if (this.hasStood) this.parts.inferior.pass()
    void work().then((stop) => this.stopped(stop), (error: unknown) => this.failed(error))
  }

  private stopped(stop: Stop): void {
    this.running = false
    if (this.isOver) return
    if (stop.type === 'ended') {
      this.parts.event('exited', { exitCode: 0 })
      this.parts.event('terminated', {})
      return
    }
    this.vcpu = stop.vcpu
    this.tell(this.parts.told(stop))
  }

  private failed(error: unknown): void {
    this.running = false
    if (!this.isOver) this.tell({ reason: 'pause', description: thrownMessage(error), text: thrownMessage(error) })
  }

  private tell(body: Omit<DebugProtocol.StoppedEvent['body'], 'threadId'>): undefined {
    this.hasStood = true
    this.parts.event('stopped', { ...body, threadId: this.vcpu + 1, allThreadsStopped: true })
  }
}
