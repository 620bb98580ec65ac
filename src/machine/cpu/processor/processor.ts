/**
 * One logical processor: drives the generated interpreter, provides it with decoded blocks, and turns its statuses into
 * exits. A budget is handed out in slices, because V8 replaces the interpreter's first, slow compilation only between
 * two calls.
 */
import { CR4, DR6, RFLAGS, VECTOR, hasErrorCode } from '../../../x86/index.ts'
import type { CpuidAnswer } from '../../../x86/index.ts'
import { FRACTION, SeededRandom, XenError } from '../../../util/index.ts'
import type { CacheInspection, CodeInspection } from '../../interface/inspection.ts'
import { EXIT } from '../../interface/processor.ts'
import type { ExitReason, ProcessorExit, ProcessorOptions, TableNews, VirtualisedProcessor } from '../../interface/processor.ts'
import type { PhysicalSource } from '../../interface/sources.ts'
import type { ProcessorProfile } from '../../interface/profile.ts'
import type { ProcessorState } from '../../interface/saved-state.ts'
import type { Trace, TraceHooks } from '../../interface/trace.ts'
import { queryProcessor } from '../cpuid/cpuid.ts'
import type { Topology } from '../cpuid/cpuid.ts'
import { DeviceAccess } from './device-access.ts'
import type { HostDevices } from './device-access.ts'
import { FaultReport } from './fault-report.ts'
import { StoreAside } from './store-aside.ts'
import { Core } from '../core/core.ts'
import { CoreSystemView } from './system-view.ts'
import { Disassembler } from '../disassembler/disassembler.ts'
import type { Disassembled } from '../../interface/disassembled.ts'
import { FXSAVE_BYTES, readFxsave, writeFxsave } from '../handlers/fpu.ts'
import { readXsave, writeXsave } from '../handlers/xsave.ts'
import { ByteList } from '../saved/byte-list.ts'
import { LastSaved } from '../saved/last-saved.ts'
import { isRandomAt, randomTaker, savedRandom } from '../saved/random-state.ts'
import { inspectCode, inspectProcessor } from '../inspection/inspection.ts'
import { Samples } from '../region/life/samples.ts'
import type { Engine } from './engine.ts'
import { ExitCounts } from './exit-counts.ts'
import { BlockFetcher } from './fetch.ts'
import { CoreRegisters } from './registers.ts'
import { reset, startUp } from './reset.ts'
import { loadState, saveState } from '../saved/processor-state.ts'
import { ACCESS, PHYSICAL_FAULT, STATUS, State, WALK_AGAIN, isUndone } from '../layout/state.ts'
import { Boundary } from '../system/boundary.ts'
import { notePageFault } from '../system/delivery.ts'
import { NO_PORTS } from '../system/ports.ts'
import { instructionAt } from '../tracing/code-at-rip.ts'
import { Tracer } from '../tracing/tracer.ts'

/** Seed of a processor's random numbers unless it is given a source: any number would do. */
const USUAL_SEED = 0x7072_6e67

/** What the host goes on with: it knows of the trap flag and decides itself. */
const TO_HOST = new Set<number>([STATUS.SYSCALL, STATUS.INTERRUPT])

/** A processor of the machine. */
export class MachineProcessor implements VirtualisedProcessor {
  readonly registers: CoreRegisters
  readonly system: CoreSystemView
  readonly exit: ProcessorExit
  readonly tables: TableNews
  private readonly core: Core
  private readonly engine: Engine
  private readonly release: () => void
  private readonly topology: Topology
  private readonly result = { reason: EXIT.BUDGET as ExitReason, vector: 0, errorCode: 0, address: FRACTION }
  private readonly faults: FaultReport
  private readonly fetcher: BlockFetcher
  private readonly boundary: Boundary
  private readonly aside: StoreAside
  private readonly devices: DeviceAccess
  /** Made with the first hook. */
  private tracer: Tracer | undefined
  private isDestroyed = false
  /** What some frame number led to has changed since the last flush. */
  private isStale = false
  private readonly samples = new Samples()
  private readonly exits = new ExitCounts()
  private readonly fpuList = new ByteList()
  private readonly last: LastSaved
  /** A region was left when generated code was last executed: State.exitRecord tells which. */
  private hasExited = true
  /** Instructions to the end of the slice; below 0 where more has been paid for than it had. */
  private slice: number

  constructor(engine: Engine, base: number, options: ProcessorOptions & { release: () => void }) {
    this.engine = engine
    this.release = options.release
    this.topology = options.topology ?? { index: 0, count: 1 }
    this.core = new Core({
      memory: engine.memory, base, bare: options.mode !== 'hosted', level: engine.level,
      kernelRing: options.mode === 'hosted' ? options.kernelRing ?? 3 : 0,
      accounting: options.accounting ?? 'instructions', tableSwitch: options.keepsTranslations === true ? 'keep' : 'drop',
      sources: {
        descriptors: options.descriptors, timestamp: options.timestamp,
        ports: options.ports ?? (options.mode === 'virtualised' ? undefined : NO_PORTS),
        cpuid: options.cpuid ?? { read: (leaf, subleaf) => this.identify(leaf, subleaf) },
        random: options.random ?? new SeededRandom(USUAL_SEED),
      },
      nested: options.physical === undefined ? undefined : this.watchful(options.physical), interrupts: options.interrupts,
      interpreter: (width) => engine.interpreter(width),
    })
    this.system = new CoreSystemView(this.core)
    this.last = new LastSaved(this.core)
    this.registers = new CoreRegisters(this.core)
    this.tables = this.core.translations
    this.fetcher = new BlockFetcher(this.core, engine)
    this.boundary = new Boundary(this.core, this.result)
    this.aside = new StoreAside(this.core)
    this.devices = new DeviceAccess(this.core)
    this.faults = new FaultReport(this.core, this.result, { devices: this.devices, stackFaults: engine.stackFaults })
    this.exit = Object.assign(this.result, { request: this.core.outside.request, physical: this.faults.physical }) as unknown as ProcessorExit
    this.result.address = 0
    this.slice = engine.slice
    reset(this.core)
    engine.attach(this.core)
  }

  /** What CPUID tells of the processor itself. */
  private identify(leaf: number, subleaf: number): CpuidAnswer {
    const { registers, level } = this.core
    return queryProcessor(leaf, subleaf, {
      topology: this.topology, level, isXsaveOn: (registers.controlLow(4) & CR4.OSXSAVE) !== 0, xcr0: State.xcr0.get(registers.view, registers.base),
    })
  }

  get executed(): number {
    return this.core.progress.lastExecuted
  }

  run(budget: number): ExitReason {
    const { core } = this
    if (this.isDestroyed) throw new XenError('INVALID_STATE', 'the processor has been destroyed')
    this.freshen()
    core.progress.totalExecuted += core.progress.lastExecuted
    core.progress.lastExecuted = 0
    core.progress.startBudget = Math.max(0, Math.min(Math.floor(budget), 0x7fff_0000))
    this.boundary.left = core.progress.startBudget
    let block = 0
    for (;;) {
      const isStepping = core.attention.isDue
      if (isStepping) {
        const reason = this.boundary.attend()
        if (reason === EXIT.PHYSICAL) this.faults.notePhysical()
        if (reason !== undefined) return this.finish(reason)
        if (this.boundary.hasDelivered) block = 0
        if (core.debug.isTraced && this.boundary.left > 0 && this.consultTracer()) return this.finish(EXIT.DEBUG)
      }
      if (this.boundary.left <= 0) return this.finish(EXIT.BUDGET)
      const before = this.boundary.left
      const status = isStepping ? this.step(block) : this.execute(block, this.slice)
      block = 0
      if (status === STATUS.NEED_BLOCK) {
        // A fetch belongs to the next instruction: without budget for it, or with a trap in between, it does not fault.
        if (this.boundary.left <= 0 || (isStepping && this.boundary.left < before)) continue
        block = this.fetcher.fetch()
        this.boundary.left -= this.fetcher.price
        if (block !== 0) continue
        const reason = this.fault(status)
        if (reason !== undefined) return this.finish(reason)
      } else if (status === STATUS.BUDGET) {
        const most = isStepping ? Math.min(this.boundary.left, 1) : this.boundary.left
        block = most > 0 ? this.fetcher.shorten(most) : 0
        // A slice ends before a block that it is too short for, or cut off from one where single instructions are looked at.
        if (most > 0 && (block === 0 || this.slice <= 0)) this.slice = this.engine.nextSlice(core, this.samples)
      } else if (status !== STATUS.PARTIAL) {
        const reason = this.leave(status)
        if (reason !== undefined) return this.finish(reason)
      }
    }
  }

  /** Executes up to `slice` instructions. */
  private execute(block: number, slice: number): number {
    const { core } = this
    const { view, base } = core.registers
    const { compiler } = this.engine
    if (this.hasExited) this.forgetExit()
    const some = Math.max(0, Math.min(this.boundary.left, slice))
    core.progress.keptBudget = this.boundary.left - some
    State.budget.set(view, base, some)
    core.code.running = core.code.active
    const status = core.code.active.run(base, block)
    const left = this.settle(status)
    this.boundary.left = core.progress.keptBudget + left
    if (compiler !== undefined) {
      this.slice -= some - left
      this.hasExited = compiler.noteReturn(core)
    }
    return status
  }

  /** What the region did that was left last is over. */
  private forgetExit(): void {
    const { view, base } = this.core.registers
    State.exitRecord.set(view, base, 0)
    this.hasExited = false
  }

  /**
   * Executes one instruction under the eyes of the debug unit. RF holds for one instruction only; the trap flag counts
   * as it was before the instruction, unless that decided otherwise.
   */
  private step(block: number): number {
    const { core } = this
    const { view, base } = core.registers
    const { debug } = core
    const flags = State.systemFlags.get(view, base)
    // An interrupt that is masked is no reason to go slowly.
    const isCareful = debug.isCareful || core.debug.isTraced
    if (!isCareful && core.events.interruptShadow(this.boundary.done) === 'none') return this.execute(block, this.slice)
    const before = this.boundary.left
    debug.isUntraced = false
    State.systemFlags.set(view, base, flags & ~RFLAGS.RF)
    const status = this.execute(block, 1)
    if (core.debug.isTraced) this.tracer!.after(this.boundary.left !== before || status === STATUS.PARTIAL, this.boundary.done)
    this.freshen()
    if (this.boundary.left === before) {
      if ((flags & RFLAGS.RF) !== 0) State.systemFlags.set(view, base, State.systemFlags.get(view, base) | RFLAGS.RF)
      if (status === STATUS.FAULT) debug.pending = 0
    } else if ((flags & RFLAGS.TF) !== 0 && !debug.isUntraced && !TO_HOST.has(status)) {
      if (core.events.interruptShadow(this.boundary.done) !== 'ss') debug.pending |= DR6.BS
    }
    return status
  }

  /** Asks the hooks before the next instruction; true when one of them wants the run to end. */
  private consultTracer(): boolean {
    const tracer = this.tracer!
    const ends = tracer.takeStop() || tracer.before(this.boundary.done)
    this.freshen()
    return ends
  }

  /**
   * Sets rip behind or at the record that stopped, gives back what was paid for and not executed; returns the budget
   * left.
   */
  private settle(status: number): number {
    const { core } = this
    const { view, base } = core.registers
    const left = State.budget.get(view, base)
    if (status === STATUS.NEED_BLOCK || status === STATUS.BUDGET) return left
    const record = State.record.get(view, base)
    const undone = isUndone(status)
    if (status !== STATUS.CHECK_JUMP) {
      core.records.goTo(record, undone ? 0 : core.records.lengthOf(record))
    }
    return left + core.code.active.remaining(record) + (undone ? 1 : 0)
  }

  /** The exit that a status leads to; undefined to go on. */
  private leave(status: number): ExitReason | undefined {
    switch (status) {
      case STATUS.FAULT:
        return this.fault(status)
      case STATUS.SYSCALL:
        return EXIT.SYSCALL
      case STATUS.INTERRUPT:
        this.result.vector = this.core.outside.vector
        return EXIT.INTERRUPT
      case STATUS.PRIVILEGED:
        return EXIT.PRIVILEGED
      case STATUS.STOP:
        return EXIT.DEBUG
      case STATUS.HALT:
        this.core.events.activity = 'halted'
        return undefined
      default:
        return undefined
    }
  }

  /** The exit that a fault leads to; undefined when it has been delivered. */
  private fault(status: number): ExitReason | undefined {
    const { core } = this
    if (this.beginsAgain(status)) return undefined
    if (State.faultVector.get(core.registers.view, core.registers.base) === PHYSICAL_FAULT) return this.faults.notePhysical()
    this.faults.take(status)
    this.boundary.tellException()
    if (!core.bare) return EXIT.EXCEPTION
    const reason = this.boundary.deliverFault()
    return reason === EXIT.PHYSICAL ? this.faults.notePhysical() : reason
  }

  private finish(reason: ExitReason): ExitReason {
    this.core.progress.lastExecuted = this.core.progress.startBudget - this.boundary.left
    this.result.reason = reason
    this.exits.add(reason, this.result.vector, this.core.outside.request)
    return reason
  }

  storeAside(address: number, entry: Uint32Array): boolean {
    if (this.core.bare || address % 8 !== 0) {
      throw new XenError('INVALID_ARGUMENT', 'a hosted processor stores eight aligned bytes aside', { details: { address } })
    }
    return this.aside.execute(address, entry, () => this.run(1) === EXIT.BUDGET && this.core.progress.lastExecuted === 1)
  }

  undoAside(): void {
    if (!this.isDestroyed) this.aside.undo()
  }

  interrupt(vector: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 255) {
      throw new XenError('INVALID_ARGUMENT', 'an interrupt vector is a number from 0 to 255', { details: { vector } })
    }
    this.core.events.request(vector)
  }

  nmi(): void {
    this.core.events.nmi = true
  }

  raise(vector: number, errorCode?: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 31 || (errorCode === undefined) === hasErrorCode(vector)) {
      throw new XenError('INVALID_ARGUMENT', 'an exception is a vector below 32, with its error code if it has one', {
        details: { vector, errorCode },
      })
    }
    this.core.events.raised = { vector, errorCode: errorCode === undefined ? undefined : errorCode >>> 0 }
  }

  carryOut(devices: HostDevices): boolean {
    const { core } = this
    if (core.nested === undefined || this.isDestroyed) {
      throw new XenError('INVALID_STATE', 'only a virtualised processor leaves instructions to its devices')
    }
    this.freshen()
    const status = { last: STATUS.NEXT as number }
    const isDone = this.devices.execute(devices, () => this.executeOne(status))
    const { view, base } = core.registers
    if (isDone || status.last !== STATUS.FAULT || this.devices.hasRefused) return isDone
    if (State.faultVector.get(view, base) === PHYSICAL_FAULT) return false
    this.faults.take(status.last)
    const { vector, errorCode } = this.result
    if (vector === VECTOR.PF) notePageFault(core.registers)
    this.raise(vector, hasErrorCode(vector) ? errorCode : undefined)
    return true
  }

  startUp(vector: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 255) {
      throw new XenError('INVALID_ARGUMENT', 'a start-up vector is a number from 0 to 255', { details: { vector } })
    }
    startUp(this.core, vector)
  }

  /** Whether the instruction ended because its walks had changed decoded code, or because it is to be executed by itself. */
  private beginsAgain(status: number): boolean {
    const { view, base } = this.core.registers
    return status === STATUS.FAULT && State.faultVector.get(view, base) >= WALK_AGAIN
  }

  /** Executes the instruction at rip and nothing that would come before it; true when it is done, or a repetition is. */
  private executeOne(status: { last: number }): boolean {
    const { core, boundary } = this
    core.progress.totalExecuted += core.progress.lastExecuted
    core.progress.lastExecuted = 0
    core.progress.startBudget = 1
    boundary.left = 1
    let block = 0
    for (;;) {
      status.last = this.execute(block, 1)
      if (boundary.left <= 0 || status.last === STATUS.PARTIAL) break
      if (status.last === STATUS.NEED_BLOCK) block = this.fetcher.fetch()
      else block = status.last === STATUS.BUDGET ? this.fetcher.shorten(1) : 0
      if (block === 0 && !this.beginsAgain(status.last)) break
    }
    core.progress.lastExecuted = 1 - boundary.left
    return boundary.left <= 0 || status.last === STATUS.PARTIAL
  }

  flushTlb(): void {
    this.core.nested?.clear()
    this.core.translations.flush()
  }

  flushFrame(gfn: number): void {
    this.core.nested?.drop(gfn)
    this.isStale = true
  }

  /** Whoever is asked in the middle of an instruction may take frames away. */
  private watchful(source: PhysicalSource): PhysicalSource {
    return {
      frame: (gfn) => {
        const entry = source.frame(gfn)
        this.freshen()
        return entry
      },
    }
  }

  /** Drops the translations that are due to go, before anything uses one: a row of frames costs one flush. */
  private freshen(): void {
    if (!this.isStale) return
    this.isStale = false
    this.core.translations.flush()
  }

  flushPage(address: number): void {
    this.core.translations.flushPage(address)
  }

  /**
   * Host address (byte offset in memory) that a linear address leads to, with the processor's present rights; undefined
   * where it would fault. Sets accessed and dirty bits as an access does.
   */
  translate(address: number, access: 'read' | 'write' | 'execute'): number | undefined {
    this.freshen()
    const kind = access === 'read' ? ACCESS.READ : access === 'write' ? ACCESS.WRITE : ACCESS.EXECUTE
    const host = this.core.memory.translate(address, kind)
    return host === 0 ? undefined : host
  }

  takeDebugTrap(): number {
    const { debug } = this.core
    const bits = debug.pending
    debug.pending = 0
    return bits
  }

  cpuid(leaf: number, subleaf: number): CpuidAnswer {
    return this.identify(leaf >>> 0, subleaf >>> 0)
  }

  instruction(): Disassembled | undefined {
    this.freshen()
    return instructionAt(this.core, new Disassembler(this.engine.level))
  }

  trace(hooks: TraceHooks): Trace {
    this.tracer ??= new Tracer(this.core, this.registers, this.engine)
    this.core.debug.observer = this.tracer
    return this.tracer.start(hooks)
  }

  profile(): ProcessorProfile {
    return { slice: this.engine.compiler?.slice ?? 0, samples: this.samples.rows(), exits: this.exits.byName() }
  }

  inspect(): CacheInspection {
    this.freshen()
    return inspectProcessor(this.core, this.engine.code)
  }

  inspectCode(): CodeInspection {
    return inspectCode(this.core.physical, this.engine.code)
  }

  save(): ProcessorState {
    const saved = saveState(this.core, this.registers, { fpu: this.fpuList.of(this.saveFpu()), done: this.core.progress.countOutside })
    const state = { ...saved, ...savedRandom(this.core.outside) }
    this.last.note(state)
    return state
  }

  isAsSaved(state: ProcessorState): boolean {
    return this.last.is(state, this.core.progress.countOutside) && isRandomAt(this.core.outside, state.random)
  }

  load(state: ProcessorState): void {
    const takeRandom = randomTaker(this.core.outside, state.random)
    loadState(this.core, this.registers, state, this.core.progress.countOutside)
    this.core.translations.restart()
    takeRandom()
    this.last.note(state)
  }

  saveFpu(): Uint8Array {
    const image = new Uint8Array(FXSAVE_BYTES)
    writeFxsave(this.core.registers, new DataView(image.buffer), 0)
    return image
  }

  loadFpu(image: Uint8Array): void {
    readFxsave(this.core.registers, new DataView(image.buffer, image.byteOffset, image.byteLength), 0)
  }

  saveExtendedState(): Uint8Array {
    return writeXsave(this.core.registers)
  }

  loadExtendedState(image: Uint8Array): boolean {
    return readXsave(this.core.registers, image)
  }

  destroy(): void {
    const { core, engine } = this
    if (this.isDestroyed) return
    this.tracer?.stopAll()
    engine.detach(core)
    this.isDestroyed = true
    core.translations.release()
    // Who still holds a view of the registers must not see, and not change, those of the next owner.
    core.registers.base = engine.memory.layout.retired
    core.translations.clear()
    core.mode.updatePermissions()
    this.release()
  }
}
