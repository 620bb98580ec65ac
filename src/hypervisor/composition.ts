/**
 * Puts the parts of a hypervisor together: each gets the narrow interface that it declares. Nothing happens here but
 * wiring. The kinds of guests come last, each made of what is there before them.
 */
import { GNTST, type GuestAbi, NATIVE, VIRQ } from '../abi/index.ts'
import { EventHub } from '../util/index.ts'
import { checkInvariants } from './checks/invariants.ts'
import type { Finding } from './checks/recount.ts'
import { HypervisorConsole } from './console/console.ts'
import { CrashReporter } from './console/crash-reporter.ts'
import { ForeignFrames } from './control/core/foreign-frames.ts'
import { DomainLifecycle } from './control/core/lifecycle.ts'
import { Reservation } from './control/core/reservation.ts'
import type { Vcpu } from './domains/domain.ts'
import type { HypercallRow, HypercallTable } from './domains/hypercall.ts'
import { grantFrames } from './domains/grant-frames.ts'
import { GuestKinds } from './domains/guest-kind.ts'
import { DomainRegistry } from './domains/registry.ts'
import { EventChannels } from './events/index.ts'
import { Containment } from './execution/containment.ts'
import { PhysicalCpus } from './execution/physical-cpus.ts'
import { RunLoop } from './execution/run-loop.ts'
import { VcpuExecution } from './execution/vcpu-execution.ts'
import { timeWriter } from './execution/vcpu-time.ts'
import { DomainMemory } from './frames/domain-memory.ts'
import { FrameAllocator } from './frames/frame-allocator.ts'
import { FRAME_TYPE, FrameTable } from './frames/frame-table.ts'
import { FrameTypes } from './frames/frame-types.ts'
import { takeMachineToPhys } from './frames/machine-to-phys.ts'
import { TlbClock } from './frames/tlb-clock.ts'
import { GrantTables } from './grants/index.ts'
import { PageTables } from './guests/direct-paging/page-tables.ts'
import { Processors } from './guests/processors/processors.ts'
import { pvGuests } from './guests/pv/pv-guests.ts'
import { pv32Guests } from './guests/pv32/pv32-guests.ts'
import { pvhGuests } from './guests/pvh/pvh-guests.ts'
import { TypedHypercallsByDomain } from './guests/typescript/typed-hypercalls-by-domain.ts'
import { typescriptGuests } from './guests/typescript/typescript-guests.ts'
import { type CoreHypercallParts, coreHypercalls } from './hypercalls/core.ts'
import { HypercallDispatcher } from './hypercalls/dispatch.ts'
import { HYPERVISOR_EVENTS, type HypervisorEvent } from './hypervisor-events.ts'
import type { HypervisorOptions } from './hypervisor-options.ts'
import { createScheduler } from './scheduler/index.ts'
import { TimeRecords, TimerQueue, TscScale } from './time/index.ts'
import { WorkMeter } from './time/work-meter.ts'
import type { CoreParts, GuestKindFactory, HypervisorParts, MemoryParts } from './hypervisor-parts.ts'

/** The kinds of guests that a host has. */
export const GUEST_KINDS: readonly GuestKindFactory[] = [pvGuests, pv32Guests, pvhGuests, typescriptGuests]

/** Makes all parts of a hypervisor. */
export function compose(options: HypervisorOptions, factories: readonly GuestKindFactory[] = GUEST_KINDS): HypervisorParts {
  const core = composeCore(options)
  for (const make of factories) core.kinds.add(make(core))
  const lifecycle = composeLifecycle(core)
  const check = (): Finding[] => checkInvariants(core)
  const { execution, hub } = core
  const containment = new Containment({ execution, hub, check })
  const loop = new RunLoop({ ...core, contain: (vcpu, error) => containment.contain(vcpu, error) })
  return { ...core, loop, lifecycle, check }
}

/** Frames, their owners and their types. */
function composeMemory({ memory, portion, before }: HypervisorOptions): MemoryParts {
  const domains = new DomainRegistry()
  const frames = new FrameTable(memory.firstFrame, memory.endFrame, before)
  const allocator = new FrameAllocator(memory.firstFrame, memory.endFrame)
  const machineToPhys = takeMachineToPhys({ memory, allocator, frames, isThere: before !== undefined })
  const tlb = new TlbClock()
  const meter = new WorkMeter(portion)
  const domainMemory = new DomainMemory({
    memory, frames, allocator, machineToPhys, tlb, domainOf: (id) => domains.get(id),
  })
  const pageTypes = new FrameTypes(frames, tlb)
  const pageTables = new PageTables({ memory, frames, meter, types: pageTypes, domains, tlb, machineToPhys })
  return { memory, domains, frames, allocator, machineToPhys, tlb, meter, domainMemory, pageTypes, pageTables }
}

/** Everything that no kind of guest owns. */
function composeCore(options: HypervisorOptions): CoreParts {
  const { clock, random } = options
  const hub = new EventHub<HypervisorEvent>(() => clock.now(), options.onListenerError, HYPERVISOR_EVENTS)
  const base = composeMemory(options)
  const { memory, domains, meter } = base
  const scheduler = createScheduler<Vcpu>(options.scheduler ?? 'credit2', options.physicalCpus ?? 1)
  const timers = new TimerQueue()
  const tsc = new TscScale(options.tscKilohertz ?? 1_000_000)
  const timeRecords = new TimeRecords(memory, tsc)
  const updateTime = timeWriter({ timeRecords, clock, memory })
  const cpus = new PhysicalCpus({
    clock, hub, updateTime, count: scheduler.cpuCount, vcpuOf: (domid, vcpu) => domains.get(domid)?.vcpus[vcpu],
  })
  const console = new HypervisorConsole({ clock, domains, hub })
  const crashes = new CrashReporter({ clock, memory, console })
  const events = composeEvents(base)
  const execution = new VcpuExecution({ crashes, memory, clock, scheduler, events, domains, hub, cpus })
  const grants = composeGrants(base, execution)
  const reservation = new Reservation({
    ...base,
    reservationChanged: (domain) => {
      if (hub.wants('reservation')) hub.emit({ type: 'reservation', domid: domain.id, pages: domain.totalPages })
    },
  })
  const shared = {
    ...base, options, clock, random, hub, scheduler, timers, tsc, timeRecords, updateTime, cpus, console, events, execution,
    grants, reservation, kinds: new GuestKinds(), processors: new Processors(options, { clock, tsc }), foreignFrames: new ForeignFrames(base),
  }
  const tables = hypercallTables({ ...shared, commandLine: options.commandLine ?? '' })
  const typedHypercalls = new TypedHypercallsByDomain(shared)
  return {
    ...shared, typedHypercalls, typedHypercallsOf: (domain) => typedHypercalls.of(domain),
    tableOf: (own, abi = NATIVE) => tables(own, abi),
  }
}

/** Makes tables of hypercalls: those that no kind owns, made once for each ABI that is asked for, and a kind's own. */
function hypercallTables(parts: CoreHypercallParts & { readonly hub: EventHub<HypervisorEvent> }): (own: readonly HypercallRow[], abi: GuestAbi) => HypercallTable {
  const rowsOf = new Map<GuestAbi, readonly HypercallRow[]>()
  return (own, abi) => {
    const rows = rowsOf.get(abi) ?? coreHypercalls(parts, abi)
    rowsOf.set(abi, rows)
    return new HypercallDispatcher({ rows: withOwn(rows, own), abi, hub: parts.hub, meter: parts.meter })
  }
}

/** A kind's own rows take the place of those that no kind owns. */
const withOwn = (rows: readonly HypercallRow[], own: readonly HypercallRow[]): HypercallRow[] =>
  [...rows.filter(({ name }) => !own.some((row) => row.name === name)), ...own]

function composeEvents({ memory, meter, domains, pageTypes }: MemoryParts): EventChannels {
  return new EventChannels({
    memory, meter,
    mayControl: (caller, target) => domains.mayControl(caller, target),
    getWritablePage: (id, gfn) => {
      const mfn = domains.get(id)?.frameOf(gfn) ?? -1
      return pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, id) === 0 ? mfn : -1
    },
    putWritablePage: (_id, mfn) => pageTypes.putPageAndType(mfn),
  })
}

function composeGrants(base: MemoryParts, execution: VcpuExecution): GrantTables<Vcpu> {
  const { memory, meter, domains } = base
  return new GrantTables<Vcpu>({
    memory, meter, frames: grantFrames(base),
    mayControl: (caller, target) => domains.mayControl(caller, target),
    installMapping: (vcpu, request) => vcpu.owner.kind.grants?.install(vcpu, request) ?? GNTST.general_error,
    removeMapping: (vcpu, request) => vcpu.owner.kind.grants?.remove(vcpu, request) ?? GNTST.general_error,
    flushTlb: (id) => {
      const domain = domains.get(id)
      for (const vcpu of domain?.vcpus ?? []) domain?.kind.grants?.flush(vcpu)
    },
    crash: (vcpu, reason) => execution.crash(vcpu, reason),
  })
}

function composeLifecycle(core: CoreParts): DomainLifecycle {
  const { hub, typedHypercalls, events, options } = core
  return new DomainLifecycle({
    ...core, bootTime: options.bootTime ?? 0n,
    raiseTimer: (vcpu) => events.raiseVirq(vcpu.domid, VIRQ.TIMER, vcpu.vcpu),
    gone: (domain) => {
      typedHypercalls.forget(domain)
      hub.emit({ type: 'domain-destroyed', domid: domain.id })
    },
  })
}
