/**
 * Puts the parts of a hypervisor together: each gets the narrow interface that it declares. Nothing happens here but
 * wiring. The kinds of guests come last, each made of what is there before them.
 */
import { type GuestAbi, NATIVE, VIRQ } from '../abi/index.ts'
import { type DomId, EventHub, once } from '../util/index.ts'
import { checkInvariants } from './checks/invariants.ts'
import type { Finding } from './checks/recount.ts'
import { HypervisorConsole } from './console/console.ts'
import { CrashReporter } from './console/crash-reporter.ts'
import { type ControlHypercallParts, controlHypercalls } from './control/control-hypercalls.ts'
import { ForeignFrames } from './control/core/foreign-frames.ts'
import { DomainLifecycle } from './control/core/lifecycle.ts'
import { Reservation } from './control/core/reservation.ts'
import { CalendarClock } from './devices/calendar-clock.ts'
import { IntervalTimer } from './devices/interval-timer.ts'
import { Access } from './domains/access.ts'
import type { Vcpu } from './domains/domain.ts'
import type { HypercallRow, HypercallTable } from './domains/hypercall.ts'
import { eventHost } from './domains/event-host.ts'
import { grantHost } from './domains/grant-host.ts'
import { GuestKinds } from './domains/guest-kind.ts'
import { DomainRegistry } from './domains/registry.ts'
import { Containment } from './execution/containment.ts'
import { PhysicalCpus } from './execution/physical-cpus.ts'
import { RunLoop } from './execution/run-loop.ts'
import { VcpuExecution } from './execution/vcpu-execution.ts'
import { timeWriter } from './execution/vcpu-time.ts'
import { FrameAllocator } from './frames/frame-allocator.ts'
import { FrameTable } from './frames/frame-table.ts'
import { FrameTypes } from './frames/frame-types.ts'
import { takeMachineToPhys } from './frames/machine-to-phys.ts'
import { TlbClock } from './frames/tlb-clock.ts'
import { PageTables } from './guests/direct-paging/page-tables.ts'
import { Processors } from './guests/processors/processors.ts'
import { pvGuests } from './guests/pv/pv-guests.ts'
import { pv32Guests } from './guests/pv32/pv32-guests.ts'
import { pvhGuests } from './guests/pvh/pvh-guests.ts'
import { typescriptGuests } from './guests/typescript/typescript-guests.ts'
import { type CoreHypercallParts, coreHypercalls } from './hypercalls/core.ts'
import { NUMBERS, type DispatcherParts, withOwn } from './hypercalls/dispatch.ts'
import { HYPERVISOR_EVENTS, type HypervisorEvent } from './hypervisor-events.ts'
import type { HypervisorOptions } from './hypervisor-options.ts'
import { interferenceSeat } from './interfered/interference-seat.ts'
import { makeDispatcher, makeDomainMemory, makeEventChannels, makeGrantTables, makeGuestTime, makeTypedHypercalls } from './interfered/stand-ins.ts'
import { CpuPools } from './scheduler/index.ts'
import { TimeRecords, TimerQueue, TscScale, WallClock } from './time/index.ts'
import { WorkMeter } from './time/work-meter.ts'
import { makeTrace } from './trace/trace.ts'
import type { CoreParts, GuestKindFactory, HypervisorParts, MemoryParts } from './hypervisor-parts.ts'

/** The domain that there is first. */
const FIRST_DOMAIN = 0 as DomId

/** The kinds of guests that a host has. */
export const GUEST_KINDS: readonly GuestKindFactory[] = [pvGuests, pv32Guests, pvhGuests, typescriptGuests]

/** Makes all parts of a hypervisor. */
export function compose(options: HypervisorOptions, factories: readonly GuestKindFactory[] = GUEST_KINDS): HypervisorParts {
  const core = composeCore(options)
  for (const make of factories) core.kinds.add(make(core))
  const check = (): Finding[] => checkInvariants(core)
  const { execution, hub } = core
  const containment = new Containment({ execution, hub, check })
  const loop = new RunLoop({ ...core, contain: (vcpu, error) => containment.contain(vcpu, error) })
  return { ...core, loop, check }
}

/** Frames, their owners and their types. */
function composeMemory({ memory, portion, before, interference }: HypervisorOptions): MemoryParts {
  const domains = new DomainRegistry()
  const frames = new FrameTable(memory.firstFrame, memory.endFrame, before)
  const allocator = new FrameAllocator(memory.firstFrame, memory.endFrame)
  const machineToPhys = takeMachineToPhys({ memory, allocator, frames, isThere: before !== undefined })
  const tlb = new TlbClock()
  const meter = new WorkMeter(portion)
  const domainMemory = makeDomainMemory({ memory, frames, allocator, machineToPhys, tlb, domainOf: (id) => domains.get(id) }, interference)
  const pageTypes = new FrameTypes(frames, tlb)
  const pageTables = new PageTables({ memory, frames, meter, types: pageTypes, domains, tlb, machineToPhys })
  return { memory, domains, frames, allocator, machineToPhys, tlb, meter, domainMemory, pageTypes, pageTables }
}

/** Everything that no kind of guest owns. */
function composeCore(options: HypervisorOptions): CoreParts {
  const { clock, random, interference, hardwareDomain: hardware = FIRST_DOMAIN } = options
  const hub = new EventHub<HypervisorEvent>(() => clock.now(), options.onListenerError, { names: HYPERVISOR_EVENTS })
  const base = composeMemory(options)
  const { memory, domains } = base
  const access = new Access(options.policy ?? 'dummy', domains, hub)
  if (access.asksPrivilege) domains.connect(access)
  const scheduler = new CpuPools<Vcpu>(options.scheduler ?? 'credit2', options.physicalCpus ?? 1)
  scheduler.get(0)!.scheduler.setGlobalParameters(options.schedulerParameters ?? {})
  const timers = new TimerQueue()
  const tsc = new TscScale(options.tscKilohertz ?? 1_000_000)
  const timeRecords = new TimeRecords(memory, tsc)
  const bootTime = options.bootTime ?? 0n
  const wallClock = new WallClock(bootTime)
  const devices = { calendarClock: new CalendarClock(clock, bootTime), intervalTimer: new IntervalTimer(clock) }
  const guestTime = makeGuestTime(interference)
  const updateTime = timeWriter({ timeRecords, clock, memory, guestTime })
  const cpus = new PhysicalCpus({
    clock, hub, updateTime, count: scheduler.cpuCount, vcpuOf: (domid, vcpu) => domains.get(domid)?.vcpus[vcpu],
  })
  const events = makeEventChannels(eventHost({ ...base, access }), interference)
  const console = new HypervisorConsole({ clock, domains, hub, typed: () => events.raiseGlobalVirq(VIRQ.CONSOLE, hardware) })
  const crashes = new CrashReporter({ clock, memory, console })
  const execution = new VcpuExecution({ crashes, memory, clock, scheduler, events, domains, hub, cpus })
  const grants = makeGrantTables(grantHost({ ...base, execution, access }), interference)
  const reservation = new Reservation({ ...base, hub })
  const trace = makeTrace({ ...base, hub, clock, tsc, console, cpus, filled: () => events.raiseGlobalVirq(VIRQ.TBUF, hardware) })
  const shared = {
    ...base, options, clock, random, hub, scheduler, timers, tsc, timeRecords, wallClock, devices, guestTime, updateTime, cpus, console, events, execution, trace,
    grants, reservation, access, kinds: new GuestKinds(), processors: new Processors(options, { clock, tsc }), foreignFrames: new ForeignFrames(base),
  }
  const hypercallCounts = new Float64Array(NUMBERS)
  const typedHypercalls = makeTypedHypercalls(shared, interference)
  const lifecycle = composeLifecycle({ ...shared, typedHypercalls })
  const tables = hypercallTables({ ...shared, lifecycle, counts: hypercallCounts, commandLine: options.commandLine ?? '' })
  interference?.begin?.(interferenceSeat(shared))
  return {
    ...shared, hypercallCounts, lifecycle, typedHypercalls, typedHypercallsOf: (domain) => typedHypercalls.of(domain),
    tableOf: (own, abi = NATIVE) => tables(own, abi),
  }
}

/** Makes tables of hypercalls: those that no kind owns, made once for each ABI that calls, and a kind's own. */
function hypercallTables(parts: CoreHypercallParts & ControlHypercallParts & Pick<DispatcherParts, 'hub' | 'counts' | 'access'> & Pick<CoreParts, 'options'>): (own: () => readonly HypercallRow[], abi: GuestAbi) => HypercallTable {
  const control = once((_: 'only') => controlHypercalls(parts))
  const rowsOf = once((abi: GuestAbi) => [...coreHypercalls(parts, abi), ...control('only')])
  const { hub, meter, counts, access, options } = parts
  return (own, abi) => makeDispatcher({ rows: () => withOwn(rowsOf(abi), own()), abi, hub, meter, counts, access }, options.interference)
}

function composeLifecycle(core: Omit<CoreParts, 'hypercallCounts' | 'lifecycle' | 'typedHypercallsOf' | 'tableOf'>): DomainLifecycle {
  const { hub, typedHypercalls, events } = core
  return new DomainLifecycle({
    ...core, typedHypercallsOf: (domain) => typedHypercalls.of(domain),
    raiseTimer: (vcpu) => events.raiseVirq(vcpu.domid, VIRQ.TIMER, vcpu.vcpu),
    gone: (domain) => {
      typedHypercalls.forget(domain)
      hub.emit({ type: 'domain-destroyed', domid: domain.id })
    },
  })
}
