/**
 * All that a hypervisor is, as a tree of parts: the order in which they are loaded, each after those that it looks at. The
 * bytes of memory are the machine's part, and are there before; what processors remember of page tables and code is no
 * state.
 */
import { type Part, type Random, type SavedTree, SeededRandom, badState, inPlace, part, partTree, randomShape, shape } from '../../util/index.ts'
import type { Finding } from '../checks/recount.ts'
import { consoleShape, type HypervisorConsole } from '../console/console.ts'
import type { ForeignFrames } from '../control/core/foreign-frames.ts'
import { lifecycleShape, type DomainLifecycle } from '../control/core/lifecycle.ts'
import { calendarClockShape } from '../devices/calendar-clock.ts'
import { intervalTimerShape } from '../devices/interval-timer.ts'
import type { MachineDevices } from '../devices/machine-ports.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { GuestKinds } from '../domains/guest-kind.ts'
import type { RunnerFactory } from '../domains/vcpu-runner.ts'
import { type EventChannels, eventShape } from '../events/index.ts'
import { type PhysicalCpus, physicalCpusShape } from '../execution/physical-cpus.ts'
import type { FrameAllocator } from '../frames/frame-allocator.ts'
import { FrameTable, OWNER_FREE, OWNER_VCPU, OWNER_XEN, frameTableShape } from '../frames/frame-table.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import { type TlbClock, tlbClockShape } from '../frames/tlb-clock.ts'
import { grantShape } from '../grants/index.ts'
import { type CpuPools, cpuPoolsShape } from '../scheduler/index.ts'
import { type HostClock, clockShape } from '../time/host-clock.ts'
import { type TimerQueue, type WallClock, timerQueueShape, wallClockShape } from '../time/index.ts'
import { type TraceBuffers, traceShape } from '../trace/trace-buffers.ts'
import { type DomainStateParts, domainsPart, foreignPart, guestsPart, translatedPart, registryPart } from './domain-parts.ts'

/** What the tree is made of. */
export interface StateParts extends DomainStateParts {
  readonly clock: HostClock
  readonly random: Random
  readonly timers: TimerQueue
  readonly wallClock: WallClock
  readonly devices: MachineDevices
  readonly lifecycle: DomainLifecycle
  readonly scheduler: CpuPools<Vcpu>
  readonly events: EventChannels
  readonly frames: FrameTable
  readonly allocator: FrameAllocator
  readonly machineToPhys: MachineToPhys
  readonly kinds: GuestKinds
  readonly tlb: TlbClock
  readonly cpus: PhysicalCpus
  readonly trace: TraceBuffers
  readonly console: HypervisorConsole
  readonly foreignFrames: ForeignFrames
  /** What does not add up. */
  check(): Finding[]
}

/** How a hypervisor is saved. */
export interface SaveOptions {
  /**
   * `'apart'`: the rows of the frame table are kept by whoever keeps memory, as they are, and are there when what was saved is
   * loaded (`before` of its options). Default: they are part of what is saved.
   */
  readonly rows?: 'apart'
  /** What was saved before with the same options: of its parts those that are the same are given again. */
  readonly before?: SavedTree
}

/** How a saved hypervisor is loaded. */
export interface LoadOptions extends Omit<SaveOptions, 'before'> {
  /** True for what this process has saved itself, over memory that nobody else has had: it is not counted again. */
  readonly trusted?: boolean
  /** What makes the runners of a domain that is written in TypeScript, as they were: their state is kept by who gives them. */
  readonly createRunner?: (domid: number) => RunnerFactory | undefined
}

const usedFramesShape = /* @__PURE__ */ shape.record({ used: /* @__PURE__ */ shape.array(Uint32Array, 0, 2 ** 19) })

/** The tree of a hypervisor's parts. */
export function hypervisorPart(parts: StateParts, options: LoadOptions = {}): Part {
  const { createRunner = () => undefined, rows, trusted = false } = options
  return partTree({ name: 'hypervisor', version: 4 }, [
    part({ name: 'clock', version: 1, shape: clockShape }, inPlace(parts.clock)),
    randomPart(parts.random),
    part({ name: 'wall-clock', version: 1, shape: wallClockShape }, inPlace(parts.wallClock)),
    part({ name: 'calendar-clock', version: 1, shape: calendarClockShape }, inPlace(parts.devices.calendarClock)),
    part({ name: 'interval-timer', version: 1, shape: intervalTimerShape }, inPlace(parts.devices.intervalTimer)),
    part({ name: 'timers', version: 1, shape: timerQueueShape }, inPlace(parts.timers)),
    part({ name: 'lifecycle', version: 1, shape: lifecycleShape }, inPlace(parts.lifecycle)),
    registryPart(parts, createRunner),
    domainsPart(parts),
    part({ name: 'scheduler', version: 2, shape: cpuPoolsShape }, parts.scheduler),
    part({ name: 'events', version: 1, shape: eventShape }, parts.events),
    part({ name: 'grants', version: 1, shape: grantShape }, parts.grants),
    part({ name: 'trace', version: 1, shape: traceShape }, inPlace(parts.trace)),
    rows === 'apart' ? usedFramesPart(parts, trusted) : framesPart(parts),
    partTree({ name: 'kinds', version: 1 }, parts.kinds.all().flatMap(({ state }) => state ?? [])),
    foreignPart(parts, parts.foreignFrames),
    translatedPart(parts),
    guestsPart(parts),
    part({ name: 'tlb', version: 1, shape: tlbClockShape }, inPlace(parts.tlb)),
    part({ name: 'cpus', version: 1, shape: physicalCpusShape }, parts.cpus),
    part({ name: 'console', version: 2, shape: consoleShape }, inPlace(parts.console)),
    soundnessPart(trusted ? { check: () => [] } : parts),
  ])
}

/** The host's source of chance, where it is a seeded one; another is the outside's. */
function randomPart(random: Random): Part {
  return part({ name: 'random', version: 1, shape: shape.optional(randomShape) }, inPlace({
    save: () => (random instanceof SeededRandom ? random.save() : undefined),
    isAsSaved: (state) => (random instanceof SeededRandom ? state !== undefined && random.isAsSaved(state) : state === undefined),
    load: (state) => {
      if ((state !== undefined) !== random instanceof SeededRandom) throw badState('it is of another kind of source')
      if (state !== undefined && random instanceof SeededRandom) random.load(state)
    },
  }))
}

/** Where the rows of the frame table are kept apart: which frames are used. What is not trusted is looked at as rows that are saved are. */
function usedFramesPart({ frames, allocator, machineToPhys, trace, domains }: StateParts, trusted: boolean): Part {
  return part({ name: 'frames', version: 1, shape: usedFramesShape }, {
    save: () => ({ used: allocator.save() }),
    load: ({ used }) => {
      if (trusted) return allocator.load(used)
      const fresh = new FrameTable(frames.first, frames.end)
      machineToPhys.claim(fresh)
      trace.claim(fresh)
      frames.judgeAll(frames, fresh)
      checkOwners(frames.owner, domains)
      allocator.follow((mfn) => frames.owner[mfn] !== OWNER_FREE)
    },
    isAsSaved: ({ used }) => allocator.isAsSaved(used),
    rewind: ({ used }) => () => allocator.load(used),
  })
}

function checkOwners(owners: Uint16Array, domains: DomainRegistry): void {
  for (const owner of new Set(owners)) {
    const isOwn = owner === OWNER_FREE || owner === OWNER_XEN || owner === OWNER_VCPU
    if (!isOwn && domains.get(owner) === undefined) throw badState(`it has frames of domain ${owner}`)
  }
}

/** The frame table; which frames are free follows from it. */
function framesPart({ frames, allocator, trace, domains }: StateParts): Part {
  return part({ name: 'frames', version: 1, shape: frameTableShape }, {
    save: () => frames.save(),
    load: (state) => {
      checkOwners(state.owner, domains)
      trace.claim(frames)
      frames.load(state)
      allocator.follow((mfn) => frames.owner[mfn] !== OWNER_FREE)
    },
  })
}

/** The last: nothing is loaded that does not add up. */
function soundnessPart({ check }: Pick<StateParts, 'check'>): Part {
  return part({ name: 'soundness', version: 1, shape: shape.record({}) }, {
    save: () => ({}),
    isAsSaved: () => true,
    load: () => {
      const [first] = check()
      if (first !== undefined) throw badState(`frame ${first.frame}: ${first.what}`)
    },
  })
}
