/**
 * The hypervisor as its users see it: the faces of the control interface over the parts that composition.ts puts together.
 * What an operation does is in control/core, what it throws in control/typed.
 */
import { ERRNO, HYPERVISOR, LAST_DOMID } from '../abi/index.ts'
import {
  type Check, type DomId, type OptionChecks, type Part, type Rewind, type SavedTree, XenError, anything, callable, checkArgument, checkOptions, flag, hashParts, hashState, having, once,
  oneOf, real, text, whole,
} from '../util/index.ts'
import type { Finding } from './checks/recount.ts'
import { silentFrames } from './checks/silent-frames.ts'
import { compose } from './composition.ts'
import type { Policy } from './domains/access.ts'
import type { FrameRows } from './frames/frame-rows.ts'
import type { HypervisorOptions } from './hypervisor-options.ts'
import type { HypervisorParts } from './hypervisor-parts.ts'
import { DomainActivity } from './control/core/activity.ts'
import { CpuPoolOperations } from './control/core/cpu-pools.ts'
import { Frames } from './control/core/frames.ts'
import { writeHypercallPage } from './control/core/hypercall-page.ts'
import { LogDirty } from './control/core/log-dirty.ts'
import { Scheduling } from './control/core/scheduling.ts'
import { VcpuOperations } from './control/core/vcpus.ts'
import type { ControlInterface } from './control/typed/control-interface.ts'
import { cpuPoolFace } from './control/typed/cpu-pools.ts'
import { giveChecked } from './control/typed/checked.ts'
import { guarded } from './control/typed/guarded.ts'
import { domainFace } from './control/typed/domains.ts'
import { hostFace } from './control/typed/host.ts'
import { memoryFace } from './control/typed/memory.ts'
import { sharingFace } from './control/typed/sharing.ts'
import { translatedFace } from './control/typed/translated.ts'
import { vcpuFace } from './control/typed/vcpus.ts'
import type { DomainHypercalls } from './guests/typescript/typed-hypercalls.ts'
import { MOST_LATE, SCHEDULER_NAMES, type Director } from './scheduler/index.ts'
import { type LoadOptions, type SaveOptions, hypervisorPart } from './state/hypervisor-state.ts'
import { hashMemory } from './state/memory-hash.ts'

const bigint: Check = (value) => (typeof value === 'bigint' ? undefined : `must be a BigInt, got ${String(value)}`)

const isPolicy: Check = (value) => (value === 'dummy' || value === 'silo' || (typeof value === 'object' && value !== null && typeof (value as Policy).name === 'string')
  ? undefined : 'must be "dummy", "silo" or an object with a name and rules')

const rows: Check = (value) => (value === undefined || value === 'apart' ? undefined : 'must be "apart"')
const HYPERVISOR_CHECKS: OptionChecks<HypervisorOptions> = {
  memory: /* @__PURE__ */ having('markWritten'), clock: /* @__PURE__ */ having('now'), random: /* @__PURE__ */ having('next'),
  createProcessor: callable, processors: /* @__PURE__ */ whole(0, 2 ** 20), scheduler: /* @__PURE__ */ oneOf(...SCHEDULER_NAMES), schedulerParameters: anything,
  physicalCpus: /* @__PURE__ */ whole(1, 2 ** 12), tscKilohertz: /* @__PURE__ */ real(1, 1e9), bootTime: bigint,
  commandLine: text, cpuidPolicy: anything, portion: /* @__PURE__ */ real(1, Infinity), onListenerError: callable,
  hardwareDomain: /* @__PURE__ */ whole(0, LAST_DOMID), before: anything, interference: anything, policy: isPolicy,
}

/** Everything of {@link ControlInterface}, and what only a hypervisor of this library has. */
export interface Hypervisor extends ControlInterface {
  /** The typed hypercall door of a domain. */
  port(domid: DomId): DomainHypercalls
}

/**
 * A hypervisor.
 *
 * @example
 * const machine = new Machine({ memoryBytes: 256 << 20 })
 * const hypervisor = new Hypervisor({
 *   memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1),
 *   createProcessor: (options) => machine.createProcessor(options),
 * })
 * const domid = hypervisor.createDomain({ kind: 'pv', maxPages: 8192 })
 */
export class Hypervisor {
  private readonly parts: HypervisorParts
  /** Its tree of parts, with the rows of the frame table or without. */
  private readonly trees = once((how: 'apart' | undefined) => hypervisorPart(this.parts, how === undefined ? {} : { rows: how, trusted: true }))

  constructor(options: HypervisorOptions) {
    checkOptions('Hypervisor', options, HYPERVISOR_CHECKS)
    this.parts = compose(options)
    const control = controlOf(options, this.parts)
    giveChecked(this, this.parts.access.asksControl ? guarded(control, this.parts.access) : control)
  }

  /** Recounts frame table, page tables, ports and grants; what does not add up. For tests and fault finding. */
  checkInvariants(): Finding[] {
    return this.parts.check()
  }

  /**
   * Lets somebody decide which vCPU runs when, in the scheduler's place, how late timers of vCPUs come, and what guests in TypeScript do first
   * of what is ready, within bounds that hold on any host; without an argument nobody does any more. Every physical CPU is asked at once. It is no part of what is saved.
   */
  direct(director?: Director): void {
    const { scheduler, cpus, timers } = this.parts
    if (director !== undefined) checkArgument('a director', director, having('decide'))
    scheduler.direct(director)
    timers.lateness = director?.lateness === undefined ? undefined : (now) => Math.max(0, Math.min(MOST_LATE, director.lateness!(now)))
    for (let cpu = 0; cpu < scheduler.cpuCount; cpu += 1) cpus.reschedule(cpu)
  }

  /**
   * All that the hypervisor is, without the bytes of memory, which are the machine's part. Changes nothing. What processors
   * remember of page tables and code is not in it, and makes no difference: what decoding costs was paid for lines of memory, which the
   * memory saves. What runs guests written in TypeScript is not in it: it is their owner's. Throws BUSY while the hypervisor
   * runs, or takes a domain apart.
   */
  save(options: SaveOptions = {}): SavedTree {
    checkOptions('save', options, { rows, before: anything })
    this.checkStands()
    return this.partOf(options).save(options.before) as SavedTree
  }

  /** Parts that take themselves for what was saved and are not: for checks of whoever brings hosts back. */
  overlooked(state: SavedTree, options: SaveOptions = {}): readonly string[] {
    return this.partOf(options).overlooked(state)
  }

  private checkStands(): void {
    const { loop, lifecycle } = this.parts
    const domid = lifecycle.underWay()
    if (loop.isRunning || loop.isStanding || domid !== undefined) {
      const why = loop.isRunning ? 'while it runs' : loop.isStanding ? 'while a run stands in its midst' : `while domain ${domid} is taken apart`
      throw new XenError('BUSY', `a hypervisor cannot be saved ${why}`, { details: { domid } })
    }
  }

  private partOf({ rows: how }: SaveOptions): Part {
    return this.trees(how)
  }

  /** Rows of the frame table, for whoever keeps images of memory. */
  get frameRows(): FrameRows {
    return this.parts.frames.rows
  }

  /** Frames that may be written without `markWritten` now, in any order, and some more than once: shared info, and pages that guests in TypeScript have mapped. */
  silentFrames(): number[] {
    return silentFrames(this.parts)
  }

  /**
   * Makes a hypervisor that has just been made, over memory that holds what it held, what the saved one was. Its options
   * are those of the saved one. Throws INVALID_STATE, which names the part; then neither it nor its memory is of use.
   */
  load(state: SavedTree, options: LoadOptions = {}): void {
    checkOptions('load', options, { createRunner: callable, rows, trusted: flag })
    if (this.parts.domains.byAge().length > 0) throw new XenError('INVALID_STATE', 'a hypervisor that has domains is not loaded')
    hypervisorPart(this.parts, options).load(state)
  }

  /**
   * What brings this hypervisor back in place to what it has saved with the same options, once memory and the frame table are what they
   * were; undefined where it has to be made anew. Nobody directs it then. Changes nothing.
   */
  rewind(state: SavedTree, options: SaveOptions = {}): readonly Rewind[] | undefined {
    const rewinds = this.partOf(options).rewind(state)
    return rewinds && [() => this.leaveUndirected(), ...rewinds]
  }

  private leaveUndirected(): void {
    const { scheduler, timers, loop } = this.parts
    loop.abandon()
    scheduler.direct(undefined)
    timers.lateness = undefined
  }

  /** 16 digits for all that is saved, and for memory: the same inputs give the same, at every moment. */
  stateHash(): string {
    return hashState(this.stateHashes())
  }

  /** The same by part, so that a difference has a name. */
  stateHashes(): Readonly<Record<string, string>> {
    return { ...hashParts(this.partOf({}).save() as SavedTree), memory: hashMemory(this.parts) }
  }

  /** Numbers of the hypercalls that some kind of guest has. */
  get hypercallNumbers(): readonly number[] {
    return [...new Set(this.parts.kinds.all().flatMap(({ hypercalls }) => hypercalls.rows.map(({ name }) => HYPERVISOR[name])))]
  }
}

/** The tree as it is: a tree of parts saves one. */

/** The faces, each over its part of the core, in one object: spread into one, a hundred calls take ten times as long. */
function controlOf(options: HypervisorOptions, parts: HypervisorParts): ControlInterface {
  const ofMemory = memoryFace({
    ...parts, hostFrames: new Frames({ ...parts, silentFrames: () => silentFrames(parts) }), logDirty: new LogDirty({ ...parts, tracking: options.memory }),
    tables: {
      pin: ({ id, kind }, mfn, level) => kind.pins?.pin(id, mfn, level) ?? -ERRNO.EINVAL,
      unpin: ({ id, kind }, mfn) => kind.pins?.unpin(id, mfn) ?? -ERRNO.EINVAL,
      writeHypercallPage: ({ id: domid, kind }, frame) => writeHypercallPage(parts, { domid, frame }, kind.fillHypercallPage),
    },
  })
  const first = Object.assign(
    hostFace(parts), cpuPoolFace({ ...parts, pools: new CpuPoolOperations(parts) }), domainFace({ ...parts, activity: new DomainActivity(parts) }), ofMemory,
  )
  return Object.assign(
    first, vcpuFace({ ...parts, vcpus: new VcpuOperations(parts), scheduling: new Scheduling(parts) }), sharingFace(parts), translatedFace(parts),
  )
}
