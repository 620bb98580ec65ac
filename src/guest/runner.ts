/**
 * The TypeScript runner: makes a guest kernel look like a virtual CPU. The hypervisor runs it as it runs the x86
 * processor, by budget, and cannot tell them apart. Structurally the hypervisor's VcpuRunner.
 */
import { SHUTDOWN } from '../abi/index.ts'
import type { HypercallPort } from '../abi/index.ts'
import { anything, callable, checkOptions, having, type Random } from '../util/index.ts'
import type { BootInfo } from './boot-info.ts'
import { COST } from './cost.ts'
import type { GuestProgram, KernelOptions } from './kernel.ts'
import { GuestKernel } from './kernel.ts'
import { savedBoot, type KernelState } from './kernel-state.ts'
import type { LoopExit } from './event-loop.ts'

/** Why the runner came back: the part of the hypervisor's VcpuExit that a guest in TypeScript uses. */
export interface RunnerExit {
  readonly kind: LoopExit
}

/** What a guest in TypeScript is started with. */
export interface RunnerOptions extends Omit<KernelOptions, 'boot' | 'saved'> {
  readonly program: GuestProgram
  readonly random: Random
  /** Asked for at the first run, when the domain has been built. */
  readonly boot: () => BootInfo
  /** Hears of the kernel when it has booted, before the program runs: how a toolstack gets hold of dom0. */
  readonly onBoot?: (kernel: GuestKernel) => void
}

const EXITS: Readonly<Record<LoopExit, RunnerExit>> = /* @__PURE__ */ Object.freeze({
  budget: { kind: 'budget' },
  block: { kind: 'block' },
  turn: { kind: 'turn' },
})

/**
 * Instructions of a run at least. An upcall and the first thing that it is for belong together: events that were not looked at make for another
 * one, so that a guest whose slices are no longer than upcalls would pay for these and do nothing else.
 */
const LEAST_RUN = COST.upcall + 1

/** Runs a guest written in TypeScript. */
export class TypeScriptRunner {
  /** Instructions that the last `run` cost; virtual time follows it. */
  executed = 0
  private readonly hypercalls: HypercallPort
  private readonly options: RunnerOptions
  private guest: GuestKernel | undefined
  private failed = false

  constructor(hypercalls: HypercallPort, options: RunnerOptions) {
    checkOptions('TypeScriptRunner', options, {
      program: callable, random: having('next'), boot: callable, onBoot: callable, store: anything, onCrash: callable, order: anything,
    })
    this.hypercalls = hypercalls
    this.options = options
  }

  /** The kernel, once the first run has booted it. */
  get kernel(): GuestKernel | undefined {
    return this.guest
  }

  /**
   * Makes the kernel from what {@link GuestKernel.save} gave, in a domain whose memory and ports are there. The program is
   * not started: who owns its handlers attaches them. Throws INVALID_STATE.
   */
  load(saved: KernelState): GuestKernel {
    const { onBoot: _, ...options } = this.options
    return (this.guest = new GuestKernel(this.hypercalls, Object.assign(options, { boot: savedBoot(saved), saved })))
  }

  /** Runs the guest's handlers. Never throws on the guest's behalf. */
  run(budget: number): RunnerExit {
    this.executed = 0
    if (this.failed) return EXITS.block
    const kernel = this.guest ?? this.bootKernel()
    if (kernel === undefined) return EXITS.block
    const exit = kernel.run(Math.max(budget, LEAST_RUN))
    this.executed = kernel.executed
    return EXITS[exit]
  }

  /**
   * Notes an upcall: the next run looks at the pending ports in shared_info anyway. Traps have no meaning for a
   * guest in TypeScript; false makes the hypervisor crash the domain.
   */
  enter(entry: { readonly kind: 'event' | 'trap' | 'syscall' | 'nmi' }): boolean {
    if (entry.kind === 'event') this.guest?.spend(COST.upcall)
    return entry.kind === 'event'
  }

  /** Boots the kernel and starts its program; undefined when there is nothing to run. */
  private bootKernel(): GuestKernel | undefined {
    const { onBoot, boot, ...options } = this.options
    try {
      this.guest = new GuestKernel(this.hypercalls, Object.assign(options, { boot: boot() }))
    } catch (error) {
      this.failed = true
      this.options.onCrash?.(error)
      this.hypercalls.shutdown(SHUTDOWN.crash)
      return undefined
    }
    onBoot?.(this.guest)
    this.guest.start()
    // A program that has shut the domain down at once does not run on; the next run would be a resume.
    return this.guest.shutdownReason === undefined ? this.guest : undefined
  }
}
