/**
 * What runs in the domains that are written in TypeScript, beside dom0: each domain's runner, from its making to its end, and
 * their kernels as part of a saved host. A program takes part by saying its state as plain data (`control.saveState`), as it
 * does for a stream; there it starts anew in another domain, here it finds all as it was, and takes it up.
 */
import { LAST_DOMID } from '../../abi/index.ts'
import { kernelState, TypeScriptRunner, type BootInfo, type GuestProgram } from '../../guest/index.ts'
import type { RunnerFactory } from '../../hypervisor/index.ts'
import { badState, SeededRandom, shape, XenError, type DomId, type Mfn, type Quiescible, type StateOf } from '../../util/index.ts'
import { wakingPort } from '../dom0/dom0.ts'

/** How a domain's program is started. */
export interface ProgramStart {
  readonly program: GuestProgram
  readonly seed: number
  /** Asked for at the first run, when the domain has been built. */
  boot(): BootInfo
}

/** What programs need of their host. */
export interface ProgramsHost {
  /** Makes a host that stands still go on. */
  readonly loop: { kick(): void }
  /** Hears of exceptions that a guest threw. */
  onCrash(domid: DomId, error: unknown): void
}

/** The kernels of all domains in TypeScript, with their domains' names. */
export const programsState = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  domid: /* @__PURE__ */ shape.whole(1, LAST_DOMID), name: /* @__PURE__ */ shape.text(256), kernel: kernelState,
}), 2 ** 15)

/** Saved programs. */
export type ProgramsState = StateOf<typeof programsState>

/** The guests in TypeScript of one host. */
export class GuestPrograms implements Quiescible {
  private readonly host: ProgramsHost
  private readonly runners = new Map<DomId, TypeScriptRunner>()
  private readonly given = new Map<number, GuestProgram>()

  constructor(host: ProgramsHost) {
    this.host = host
  }

  /** What makes the runner of a new domain's vCPU. */
  starting({ program, seed, boot }: ProgramStart): RunnerFactory {
    return (hypercalls, _vcpu, order) => {
      const { domid } = hypercalls
      const runner = new TypeScriptRunner(wakingPort(hypercalls, this.host.loop), {
        program, boot, order, random: new SeededRandom(seed), onCrash: (error) => this.host.onCrash(domid, error),
      })
      this.runners.set(domid, runner)
      return runner
    }
  }

  /** The domain is gone. */
  forget(domid: DomId): void {
    this.runners.delete(domid)
    this.given.delete(domid)
  }

  /** The host goes on as another: nothing of these guests reaches it any more. */
  retire(why: XenError): void {
    for (const { kernel } of this.runners.values()) kernel?.retire(why)
  }

  // State

  /** Frames that the guests write without a word. */
  silentFrames(): Mfn[] {
    return [...this.runners.values()].flatMap(({ kernel }) => kernel?.frames.lent() ?? [])
  }

  /** A domain that can never be saved with its host, and why; undefined when there is none. */
  unsavable(): { readonly domid: DomId; readonly why: string } | undefined {
    for (const [domid, { kernel }] of this.runners) {
      if (kernel === undefined || kernel.shutdownReason !== undefined) continue
      const why = kernel.control.isStated ? kernel.unsavable() : 'a program that does not say its state'
      if (why !== undefined) return { domid, why }
    }
    return undefined
  }

  /** What a guest has in hand; undefined when none has anything. */
  underWay(): string | undefined {
    for (const [domid, { kernel }] of this.runners) {
      const why = kernel === undefined ? 'its boot' : kernel.underWay()
      if (why !== undefined) return `${why} of domain ${domid}`
    }
    return undefined
  }

  /** All kernels, with the names that `nameOf` gives. Throws NOT_SUPPORTED, naming the domain, when one cannot be saved. */
  save(nameOf: (domid: DomId) => string): ProgramsState {
    return [...this.runners].map(([domid, { kernel }]) => {
      const name = nameOf(domid)
      try {
        return { domid, name, kernel: kernel!.save() }
      } catch (error) {
        if (!XenError.is(error, 'NOT_SUPPORTED')) throw error
        throw new XenError('NOT_SUPPORTED', `domain ${domid} (${name}) cannot be saved: ${error.message}`, { details: { id: domid, name }, cause: error })
      }
    })
  }

  /** Told at once where there is none; what programs say of themselves is asked of them. */
  isAsSaved(state: ProgramsState): boolean {
    return this.runners.size === 0 && state.length === 0
  }

  /** Gives a domain that is about to be loaded its program. */
  give(domid: number, program: GuestProgram): void {
    this.given.set(domid, program)
  }

  /** The program that a loaded domain was given. */
  programOf(domid: number): GuestProgram | undefined {
    return this.given.get(domid)
  }

  /** What makes the runner of a loaded domain; undefined for one that was given no program. */
  loading(domid: number): RunnerFactory | undefined {
    const program = this.given.get(domid)
    const boot = (): never => { throw new Error('a loaded kernel does not boot') }
    return program && this.starting({ program, seed: 0, boot })
  }

  /** Loads the kernels into runners that are there, and lets their programs take up what they had open. */
  load(state: ProgramsState): void {
    for (const { domid, kernel } of state) {
      const runner = this.runners.get(domid as DomId)
      if (runner === undefined) throw badState(`domain ${domid} is no guest in TypeScript`)
      runner.load(kernel)
    }
    // Kernels first: a program may reach the others.
    for (const { kernel } of this.runners.values()) kernel!.takeUp()
  }
}
