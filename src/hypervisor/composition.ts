/**
 * Puts the parts of a hypervisor together: each gets the narrow interface that it declares. Nothing happens here but
 * wiring.
 */
import { type DomId, EventHub, type EventPort, type Random, invariant } from '../util/index.ts'
import { ERRNO, VIRQ } from '../abi/index.ts'
import { PAGE_SIZE } from '../x86/index.ts'
import { HypervisorConsole } from './console/console.ts'
import { Containment } from './execution/containment.ts'
import { CrashReporter } from './console/crash-reporter.ts'
import type { Domain, Vcpu } from './domains/domain.ts'
import { writeHypercallPage } from './control/core/hypercall-page.ts'
import { DomainLifecycle } from './control/core/lifecycle.ts'
import { Reservation } from './control/core/reservation.ts'
import { EventChannels } from './events/index.ts'
import { DomainRegistry } from './domains/registry.ts'
import { DomainMemory } from './frames/domain-memory.ts'
import { FrameAllocator } from './frames/frame-allocator.ts'
import { FRAME_TYPE, FrameTable, OWNER_XEN } from './frames/frame-table.ts'
import { MachineToPhys, machineToPhysFrames } from './frames/machine-to-phys.ts'
import { GrantTables } from './grants/index.ts'
import { Scratch, readInto } from './memory/guest-access.ts'
import type { GuestMemory } from './memory/guest-memory.ts'
import type { HostClock } from './time/host-clock.ts'
import { coreHypercalls } from './hypercalls/core.ts'
import { HypercallDispatcher } from './hypercalls/dispatch.ts'
import { isGuestAddress } from './memory/guest-address.ts'
import { ioRights } from './guests/pv/io-rights.ts'
import { HYPERVISOR_EVENTS, type HypervisorEvent } from './hypervisor-events.ts'
import type { Finding } from './checks/invariants.ts'
import { DomainPort } from './guests/typescript/port.ts'
import { BounceFrames } from './guests/pv/bounce.ts'
import { VcpuContexts } from './guests/pv/contexts.ts'
import type { CpuidPolicy } from './guests/pv/cpuid.ts'
import { DescriptorTables } from './guests/pv/descriptor-tables.ts'
import { GrantEntries } from './guests/pv/grant-entries.ts'
import { fillHypercallPage } from './guests/pv/hypercall-page.ts'
import { iret } from './guests/pv/iret.ts'
import { MmuExtended } from './guests/pv/mmu-extended.ts'
import { MmuUpdates } from './guests/pv/mmu-update.ts'
import { PageTypes } from './guests/pv/page-types.ts'
import { PrivilegedOperations } from './guests/pv/privileged.ts'
import { PvExits } from './guests/pv/pv-exits.ts'
import { pvHypercalls, tableHypercalls } from './guests/pv/pv-hypercalls.ts'
import { type ProcessorFactory, PvVcpus } from './guests/pv/pv-vcpus.ts'
import { SegmentLoader } from './guests/pv/segments.ts'
import { TlbClock } from './guests/pv/tlb-clock.ts'
import { decodeVcpuContext } from './domains/vcpu-context.ts'
import { WritableTables } from './guests/pv/writable-tables.ts'
import { RunLoop } from './execution/run-loop.ts'
import { type SchedulerName, createScheduler } from './scheduler/index.ts'
import { TimeRecords, TimerQueue, TscScale } from './time/index.ts'
import { VcpuExecution } from './execution/vcpu-execution.ts'
import { WORK, WorkMeter } from './time/work-meter.ts'
import type { WriteTracking } from './memory/write-tracking.ts'

/** What a hypervisor is made of. */
export interface HypervisorOptions {
  /** Host memory; with write tracking where domains are to be migrated. */
  readonly memory: GuestMemory & Partial<WriteTracking>
  readonly clock: HostClock
  readonly random: Random
  /** Makes processors for binary guests; without it only guests in TypeScript run. */
  readonly createProcessor?: ProcessorFactory
  /** Most processors that `createProcessor` can make at a time: domains whose vCPUs would be more are refused. */
  readonly processors?: number
  /** Default credit2. */
  readonly scheduler?: SchedulerName
  /** Physical CPUs of the model. Default 1. */
  readonly physicalCpus?: number
  /** Rate of the time-stamp counter. Default 1,000,000 kHz, one tick for each instruction of the default clock. */
  readonly tscKilohertz?: number
  /** Calendar time at host boot, nanoseconds since 1970. Default 0. */
  readonly bootTime?: bigint
  /** The hypervisor's own command line, as a privileged domain reads it. */
  readonly commandLine?: string
  /** Changes what CPUID tells guests. */
  readonly cpuidPolicy?: CpuidPolicy
  /**
   * Work, in instructions, after which a long hypercall pauses and lets others run. Default 200,000; 1 pauses wherever
   * that is possible.
   */
  readonly portion?: number
  /** Hears of listeners that threw. */
  readonly onListenerError?: (error: unknown) => void
}

/** All parts of one hypervisor. */
export type HypervisorParts = ReturnType<typeof compose>

/** Bytes of vcpu_guest_context. */
const CONTEXT_BYTES = 5168

/** Takes the machine-to-physical table's frames, aligned to 2 MiB where the host is large enough. */
function takeMachineToPhys(memory: GuestMemory, allocator: FrameAllocator, frames: FrameTable): MachineToPhys {
  const needed = machineToPhysFrames(memory.endFrame)
  const mapping = Array.from({ length: needed.mapping }, () => allocator.take())
  const order = Math.ceil(Math.log2(needed.table))
  const table = allocator.takeRun(order)
  invariant(table >= 0 && !mapping.includes(-1), 'the host is too small for its machine-to-physical table')
  for (let mfn = table + needed.table; mfn < table + 2 ** order; mfn += 1) allocator.give(mfn)
  for (const mfn of mapping) frames.owner[mfn] = OWNER_XEN
  for (let mfn = table; mfn < table + needed.table; mfn += 1) {
    frames.assign(mfn, OWNER_XEN)
    // A type reference that nobody gives back: it is never writable for anyone.
    frames.typeCount[mfn] = 1
  }
  return new MachineToPhys(memory, { mapping, table })
}

/** Frames, their owners and their types. */
function composeMemory(options: HypervisorOptions, late: { gone(domain: Domain): void }) {
  const { memory } = options
  const domains = new DomainRegistry()
  const frames = new FrameTable(memory.firstFrame, memory.endFrame)
  const allocator = new FrameAllocator(memory.firstFrame, memory.endFrame)
  const machineToPhys = takeMachineToPhys(memory, allocator, frames)
  const tlb = new TlbClock()
  const meter = new WorkMeter(options.portion)
  const domainMemory = new DomainMemory({
    memory, frames, allocator, machineToPhys, tlb,
    domainOf: (id) => domains.get(id),
    lastFrameGone: (domain) => late.gone(domain),
  })
  const pageTypes = new PageTypes({
    memory, frames, meter,
    mayMapFrames: (caller, owner) => domains.get(owner) !== undefined && domains.mayControl(caller, owner),
    hasDevices: (id) => domains.get(id)?.privileged === true,
    tlbTime: () => tlb.now(),
    flushSince: (stamp) => tlb.flushSince(stamp),
    machineToPhysEntry: (id) => (domains.get(id)?.hidesMachineToPhys === true ? machineToPhys.entryLow : 0),
  })
  return { memory, domains, frames, allocator, machineToPhys, tlb, meter, domainMemory, pageTypes }
}

/** Page tables and descriptor tables of PV guests. */
function composePv(base: ReturnType<typeof composeMemory>, hub: EventHub<HypervisorEvent>) {
  const descriptorTables = new DescriptorTables(base)
  const segments = new SegmentLoader(descriptorTables)
  const updates = new MmuUpdates(base)
  const mmu = new MmuExtended({
    ...base, updates, descriptorTables,
    pinned: (domain, mfn, level, action) => {
      // The frame has been found in the frame table.
      if (!hub.wants('page-table')) return
      hub.emit({ type: 'page-table', domid: domain.id, action, frame: mfn as never, level })
    },
  })
  const contexts = new VcpuContexts({ mmu, descriptorTables, segments })
  const grantEntries = new GrantEntries(base)
  const writableTables = new WritableTables(base)
  return { descriptorTables, segments, updates, mmu, contexts, grantEntries, writableTables }
}

/** Event channels and grants between domains. */
function composeSharing(
  base: ReturnType<typeof composeMemory>,
  pv: ReturnType<typeof composePv>,
  late: {
    execution: VcpuExecution | undefined
    consumer(id: number, domain: DomId, port: EventPort): void
  },
) {
  const { memory, domains, frames, domainMemory, pageTypes, machineToPhys, tlb, meter } = base
  const vcpuOf = (id: number, vcpu: number): Vcpu | undefined => domains.get(id)?.vcpus[vcpu]
  const events = new EventChannels({
    memory, meter,
    mayControl: (caller, target) => domains.mayControl(caller, target),
    wake: (id, vcpu) => {
      const target = vcpuOf(id, vcpu)
      if (target !== undefined) late.execution?.wake(target)
    },
    notifyConsumer: (id, domain, port) => late.consumer(id, domain, port as EventPort),
    getWritablePage: (id, gfn) => (pageTypes.getPageAndType(gfn, FRAME_TYPE.WRITABLE, id) === 0 ? gfn : -1),
    putWritablePage: (_id, mfn) => pageTypes.putPageAndType(mfn),
  })
  const grants = new GrantTables<Vcpu>({
    memory, meter,
    frames: {
      getPage: (mfn, owner) => frames.getPage(mfn, owner),
      putPage: (mfn) => frames.putPage(mfn),
      isWritable: (mfn) => frames.isWritable(mfn),
      getWritable: (mfn) => pageTypes.getType(mfn, FRAME_TYPE.WRITABLE) === 0,
      putWritable: (mfn) => pageTypes.putType(mfn),
      allocateShared: (id) => {
        const domain = domains.get(id)
        return domain === undefined ? -1 : domainMemory.allocateShared(domain)
      },
      isUnmapped: (mfn) => frames.references[mfn] === 1,
      freeShared: (mfn) => void domainMemory.giveBack(mfn),
      steal: (mfn, owner) => {
        const domain = domains.get(owner)
        return domain !== undefined && domainMemory.steal(mfn, domain) ? 0 : -ERRNO.EINVAL
      },
      adopt: (mfn, owner) => {
        const domain = domains.get(owner)
        return domain !== undefined && domainMemory.adopt(mfn, domain)
      },
      hasRoom: (id) => {
        const domain = domains.get(id)
        return domain !== undefined && !domain.dying && domain.totalPages < domain.maxPages
      },
      discard: (mfn) => domainMemory.discard(mfn),
      setPfn: (mfn, pfn) => machineToPhys.set(mfn, pfn),
    },
    mayControl: (caller, target) => domains.mayControl(caller, target),
    installMapping: (vcpu, request) => pv.grantEntries.install(vcpu, request),
    removeMapping: (vcpu, request) => pv.grantEntries.remove(vcpu, request),
    flushTlb: (id) => {
      for (const vcpu of domains.get(id)?.vcpus ?? []) if (vcpu.pv !== undefined) tlb.flush(vcpu.pv)
    },
    crash: (vcpu, reason) => late.execution?.crash(vcpu, reason),
  })
  return { events, grants }
}

/** Makes all parts of a hypervisor. */
export function compose(options: HypervisorOptions) {
  const { clock, random } = options
  const late: {
    execution: VcpuExecution | undefined; lifecycle: DomainLifecycle | undefined; loop: RunLoop | undefined
    consumer(id: number, domain: DomId, port: EventPort): void
    check(): Finding[]
  } = {
    execution: undefined, lifecycle: undefined, loop: undefined, consumer: () => undefined, check: () => [],
  }
  const hub = new EventHub<HypervisorEvent>(() => clock.now(), options.onListenerError, HYPERVISOR_EVENTS)
  const base = composeMemory(options, { gone: (domain) => late.lifecycle?.finish(domain) })
  const pv = composePv(base, hub)
  const sharing = composeSharing(base, pv, late)
  const { memory, domains } = base
  const scheduler = createScheduler<Vcpu>(options.scheduler ?? 'credit2', options.physicalCpus ?? 1)
  const timers = new TimerQueue()
  const tsc = new TscScale(options.tscKilohertz ?? 1_000_000)
  const timeRecords = new TimeRecords(memory, tsc)
  const console = new HypervisorConsole({ clock, domains, hub })
  const crashes = new CrashReporter({ clock, memory, console, machineToPhys: base.machineToPhys })
  const execution = new VcpuExecution({
    crashes, memory, clock, scheduler, events: sharing.events, domains, hub, reschedule: (cpu) => late.loop?.reschedule(cpu),
  })
  late.execution = execution
  const reservation = new Reservation({
    ...base,
    reservationChanged: (domain) => {
      if (hub.wants('reservation')) hub.emit({ type: 'reservation', domid: domain.id, pages: domain.totalPages })
    },
  })
  const updateTime = timeWriter(timeRecords, clock, memory)
  const shared = {
    ...base, ...pv, ...sharing, clock, hub, scheduler, timers, tsc, timeRecords, console, execution, reservation,
    updateTime, random,
  }
  const { hypercalls, exits, pvVcpus, privileged } = composeExecution(options, shared)
  const containment = new Containment({ execution, hub, check: () => late.check() })
  const loop = new RunLoop({
    clock, timers, scheduler, execution, exits, hub, updateTime, meter: base.meter,
    vcpuOf: (domid, vcpu) => domains.get(domid)?.vcpus[vcpu],
    contain: (vcpu, error) => containment.contain(vcpu, error),
  })
  late.loop = loop
  const ports = new Map<Domain, DomainPort>()
  const portOf = (domain: Domain): DomainPort => {
    const port = ports.get(domain) ?? new DomainPort({ ...shared, hypercalls: hypercalls[domain.kind] }, domain)
    ports.set(domain, port)
    return port
  }
  const lifecycle = new DomainLifecycle({
    ...shared, loop, pvVcpus, portOf, bootTime: options.bootTime ?? 0n,
    raiseTimer: (vcpu) => sharing.events.raiseVirq(vcpu.domid, VIRQ.TIMER, vcpu.vcpu),
    gone: (domain) => {
      ports.delete(domain)
      hub.emit({ type: 'domain-destroyed', domid: domain.id })
    },
  })
  late.lifecycle = lifecycle
  return { ...shared, hypercalls, exits, pvVcpus, privileged, loop, lifecycle, portOf, late }
}

/** Writes a vCPU's time record, and the second one that it may have registered. */
function timeWriter(records: TimeRecords, clock: HostClock, memory: GuestMemory): (vcpu: Vcpu) => void {
  return (vcpu) => {
    const now = clock.now()
    vcpu.timeWritten = now
    if (vcpu.infoAddress < 0) return
    records.updateVcpu(vcpu.infoAddress, now)
    memory.markWritten(vcpu.infoAddress >>> 12)
    if (vcpu.timeArea === undefined) return
    const at = vcpu.kernelAccess.locate(vcpu.timeArea, true)
    if (at < 0 || (at & 0xfff) > PAGE_SIZE - 32) return
    records.writeRecord(at, now)
    memory.markWritten(at >>> 12)
  }
}

/** What is there before anything can execute. */
type Shared = Omit<
  ReturnType<typeof compose>, 'hypercalls' | 'exits' | 'pvVcpus' | 'privileged' | 'loop' | 'lifecycle' | 'portOf' | 'late'
>

/** Hypercalls and the exits of processors. */
function composeExecution(options: HypervisorOptions, parts: Shared): {
  readonly hypercalls: Record<Domain['kind'], HypercallDispatcher>; readonly exits: PvExits; readonly pvVcpus: PvVcpus
  readonly privileged: PrivilegedOperations
} {
  const { memory, tsc, clock, mmu, execution, hub } = parts
  let read = tsc.ticksAt(0)
  const timestamp = {
    low: (executed: number) => {
      read = tsc.ticksAt(clock.after?.(executed) ?? clock.now())
      return read.low
    },
    high: () => read.high,
  }
  const pvVcpus = new PvVcpus({
    memory, tlb: parts.tlb, mmu, descriptorTables: parts.descriptorTables, frames: new BounceFrames(),
    createProcessor: options.createProcessor, processors: options.processors ?? Infinity, timestamp,
  })
  const late: { exits: PvExits | undefined } = { exits: undefined }
  const hypercalls = composeHypercalls(options, parts, {
    pvVcpus, inject: (vcpu, vector, errorCode) => late.exits?.inject(vcpu, vector, errorCode),
  })
  const privileged = new PrivilegedOperations({
    tscKilohertz: tsc.kilohertz, cpuidPolicy: options.cpuidPolicy,
    addressBits: Math.ceil(Math.log2(memory.endFrame)) + 12,
    timestamp: () => tsc.ticksAt(clock.now()),
    setKernelTable: (vcpu, mfn) => mmu.setKernelTable(vcpu, mfn),
    writeHypercallPage: (domid, frame) => writeHypercallPage(parts, { domid, frame }, fillHypercallPage) === 0,
  })
  const exits = new PvExits({
    hypercalls: hypercalls.pv, privileged, writableTables: parts.writableTables, hub, pageTypes: parts.pageTypes, meter: parts.meter,
    crash: (vcpu, reason, exception) => execution.crash(vcpu, reason, exception),
  })
  late.exits = exits
  return { hypercalls, exits, pvVcpus, privileged }
}

/** The hypercalls of each kind of guest: those that no kind owns, and its own. */
function composeHypercalls(
  options: HypervisorOptions,
  parts: Shared,
  processors: { readonly pvVcpus: PvVcpus; inject(vcpu: Vcpu, vector: number, errorCode: number): void },
): Record<Domain['kind'], HypercallDispatcher> {
  const { execution, memory, contexts, hub, meter } = parts
  const context = new Scratch(CONTEXT_BYTES)
  const core = coreHypercalls({
    ...parts, ...ioRights, commandLine: options.commandLine ?? '',
    initialise: (caller, vcpu, address) => {
      if (!readInto(caller.access, address, context, CONTEXT_BYTES)) return -ERRNO.EFAULT
      if (vcpu.initialised) return -ERRNO.EEXIST
      if (caller.pv === undefined) return -ERRNO.EINVAL
      if (!processors.pvVcpus.has(vcpu)) return -ERRNO.ENOMEM
      meter.charge(WORK.context)
      return contexts.set(vcpu, decodeVcpuContext(context.view, 0))
    },
    isAddressable: (vcpu, address) => vcpu.pv === undefined || isGuestAddress(address),
    sendNmi: (vcpu) => {
      if (vcpu.pv === undefined) return
      vcpu.pv.nmiPending = true
      execution.wake(vcpu)
    },
  })
  const tables = tableHypercalls(parts)
  const returning = iret({
    segments: parts.segments, memory, inject: processors.inject,
    crash: (vcpu, reason) => execution.crash(vcpu, reason),
  })
  return {
    pv: new HypercallDispatcher([...core, ...tables, ...pvHypercalls(parts), returning], hub, meter),
    typescript: new HypercallDispatcher([...core, ...tables], hub, meter),
  }
}
