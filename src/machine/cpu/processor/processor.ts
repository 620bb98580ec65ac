/**
 * One logical processor: drives the generated interpreter, provides it with decoded blocks, and turns its statuses into
 * exits. A budget is handed out in slices, because V8 replaces the interpreter's first, slow compilation only between
 * two calls.
 */
import { CR0, CR4, DR6, EFER, GPR, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import type { CpuidAnswer } from '../../../x86/index.ts'
import { SeededRandom, XenError, signedFromParts } from '../../../util/index.ts'
import type { CacheInspection, CodeInspection } from '../../interface/inspection.ts'
import { PROCESSOR_BYTES } from '../../memory/layout.ts'
import { EXIT } from '../../interface/processor.ts'
import type {
  BareProcessor, ExitReason, ProcessorExit, ProcessorOptions, ProcessorState,
} from '../../interface/processor.ts'
import type { Trace, TraceHooks } from '../../interface/trace.ts'
import { queryProcessor } from '../cpuid/cpuid.ts'
import { StoreAside } from './store-aside.ts'
import type { CodePlace } from '../code/code-cache.ts'
import { Core } from '../core/core.ts'
import { CoreSystemView } from './system-view.ts'
import { Disassembler } from '../disassembler/disassembler.ts'
import type { Disassembled } from '../disassembler/disassembler.ts'
import { CODE_LINE } from '../handlers/prices.ts'
import { FXSAVE_BYTES, readFxsave, resetFpu, writeFxsave } from '../handlers/fpu.ts'
import { randomTaker, savedRandom } from '../handlers/random.ts'
import { inspectCode, inspectProcessor } from '../inspection/inspection.ts'
import type { Engine } from './engine.ts'
import { CoreRegisters } from './registers.ts'
import { ACCESS } from '../runtime/tlb.ts'
import { NOT_CANONICAL } from '../runtime/walk.ts'
import { restoreState, saveState } from '../saved/processor-state.ts'
import { codeAllows } from '../core/segmentation.ts'
import { BLOCK } from '../layout/record.ts'
import { JUMP, MODE, SCRATCH_BLOCK, STATUS, State, UNDONE } from '../layout/state.ts'
import { Boundary } from '../system/boundary.ts'
import { NO_PORTS } from '../system/ports.ts'
import { Tracer, instructionAt } from '../tracing/tracer.ts'
import { clearAll } from '../core/translations.ts'

/** Instructions that generated code executes before it comes back once. */
const SLICE = 400_000


/** Seed of a processor's random numbers unless it is given a source: any number would do. */
const USUAL_SEED = 0x7072_6e67

/** What the host goes on with: it knows of the trap flag and decides itself. */
const TO_HOST = new Set<number>([STATUS.SYSCALL, STATUS.INTERRUPT])

/** Where code is to be decoded; one object, used again. */
class FetchPlace implements CodePlace {
  host = 0
  mode = 0
  rip = 0
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  nextPage(): number {
    const behind = (Math.floor(this.rip / 4096) + 1) * 4096
    return this.core.translate(this.core.long ? behind : behind % 0x1_0000_0000, ACCESS.EXECUTE)
  }
}

/** A processor of the machine. */
export class MachineProcessor implements BareProcessor {
  readonly registers: CoreRegisters
  readonly system: CoreSystemView
  readonly exit: ProcessorExit
  private readonly core: Core
  private readonly engine: Engine
  private readonly release: () => void
  private readonly result = { reason: EXIT.BUDGET as ExitReason, vector: 0, errorCode: 0, address: 0 }
  private readonly place: FetchPlace
  private readonly boundary: Boundary
  private readonly aside: StoreAside
  private isDestroyed = false

  constructor(engine: Engine, base: number, options: ProcessorOptions & { release: () => void }) {
    this.engine = engine
    this.release = options.release
    const topology = options.topology ?? { index: 0, count: 1 }
    this.core = new Core({
      memory: engine.memory, base, bare: options.mode === 'bare', countsWork: options.accounting === 'work', descriptors: options.descriptors,
      timestamp: options.timestamp, ports: options.ports ?? NO_PORTS,
      cpuid: options.cpuid ?? { read: (leaf, subleaf) => queryProcessor(leaf, subleaf, topology) },
      random: options.random ?? new SeededRandom(USUAL_SEED),
      interpreter: (width) => engine.interpreter(width),
    })
    this.system = new CoreSystemView(this.core)
    this.registers = new CoreRegisters(this.core)
    this.exit = Object.assign(this.result, { request: this.core.request }) as unknown as ProcessorExit
    this.place = new FetchPlace(this.core)
    this.boundary = new Boundary(this.core, this.result)
    this.aside = new StoreAside(this.core)
    this.reset()
    engine.attach(this.core)
  }

  /**
   * The state that a processor starts in: 64-bit mode, a hosted one in ring 3, a bare one in ring 0. Its area has been
   * another's before: all of it is cleared, for what is not a register outlives its owner just as well. What the jump
   * cache says of the old owner's addresses would be taken for this one's, as generations begin anew.
   */
  private reset(): void {
    const { core } = this
    const { view, base, memory } = core
    memory.bytes.fill(0, base, base + PROCESSOR_BYTES)
    const { layout } = memory
    State.codeLines.set(view, base, layout.codeLines)
    State.frameNotes.set(view, base, layout.frameNotes)
    State.blockTable.set(view, base, layout.blockTable)
    const low = layout.firstFrame * 4096
    State.physicalBase.set(view, base, core.bare ? low : 0)
    State.physicalLow.set(view, base, low)
    State.physicalSize.set(view, base, layout.endFrame * 4096 - low)
    clearAll(memory, base)
    resetFpu(core)
    State.xcr0.set(view, base, 1)
    core.setFlags(core.bare ? 0 : RFLAGS.IF)
    core.efer = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE
    const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
    const ring = core.bare ? 0 : 0x60
    // Code first: from then on nothing looks like 32-bit code, for which another module would be generated.
    core.setSegment(SEGMENT.cs, { ...flat, selector: core.bare ? 8 : 0xe033, attributes: 0xa09b | ring })
    core.setControl(0, (CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG) >>> 0, 0)
    core.setControl(4, CR4.PAE | CR4.PGE | CR4.OSFXSR | CR4.OSXMMEXCPT, 0)
    core.setSegment(SEGMENT.ss, { ...flat, selector: core.bare ? 0x10 : 0xe02b, attributes: 0xc093 | ring })
    core.debug.reset()
    core.flushTlb()
  }

  get executed(): number {
    return this.core.lastExecuted
  }

  run(budget: number): ExitReason {
    const { core } = this
    if (this.isDestroyed) throw new XenError('INVALID_STATE', 'the processor has been destroyed')
    core.totalExecuted += core.lastExecuted
    core.lastExecuted = 0
    core.startBudget = Math.max(0, Math.min(Math.floor(budget), 0x7fff_0000))
    this.boundary.left = core.startBudget
    let block = 0
    for (;;) {
      const isStepping = core.isCareful
      if (isStepping) {
        const reason = this.boundary.attend()
        if (reason !== undefined) return this.finish(reason)
        if (this.boundary.hasDelivered) block = 0
        if (core.isTraced && this.boundary.left > 0 && this.consultTracer()) return this.finish(EXIT.DEBUG)
      }
      if (this.boundary.left <= 0) return this.finish(EXIT.BUDGET)
      const before = this.boundary.left
      const status = isStepping ? this.step(block) : this.execute(block, SLICE)
      block = 0
      if (status === STATUS.NEED_BLOCK) {
        // A fetch belongs to the next instruction: without budget for it, or with a trap in between, it does not fault.
        if (this.boundary.left <= 0 || (isStepping && this.boundary.left < before)) continue
        block = this.provideBlock()
        if (block !== 0) continue
        this.fault(status)
        if (!core.bare) return this.finish(EXIT.EXCEPTION)
        if (!this.boundary.deliverFault()) return this.finish(this.boundary.shutDown())
      } else if (status === STATUS.BUDGET) {
        const most = isStepping ? Math.min(this.boundary.left, 1) : this.boundary.left
        block = most > 0 ? this.shorten(most) : 0
      } else if (status !== STATUS.PARTIAL) {
        const reason = this.leave(status)
        if (reason !== undefined) return this.finish(reason)
      }
    }
  }

  /** Executes up to `slice` instructions. */
  private execute(block: number, slice: number): number {
    const { core } = this
    const { view, base } = core
    const some = Math.min(this.boundary.left, slice)
    core.keptBudget = this.boundary.left - some
    State.budget.set(view, base, some)
    core.running = core.wasm
    const status = core.wasm.run(base, block)
    this.boundary.left = core.keptBudget + this.settle(status)
    return status
  }

  /**
   * Executes one instruction under the eyes of the debug unit. RF holds for one instruction only; the trap flag counts
   * as it was before the instruction, unless that decided otherwise.
   */
  private step(block: number): number {
    const { core } = this
    const { view, base, debug } = core
    const flags = State.systemFlags.get(view, base)
    // An interrupt that is masked is no reason to go slowly.
    const isCareful = debug.isCareful || core.isTraced
    if (!isCareful && core.events.shadow(this.boundary.done) === 'none') return this.execute(block, SLICE)
    const before = this.boundary.left
    debug.isUntraced = false
    State.systemFlags.set(view, base, flags & ~RFLAGS.RF)
    const status = this.execute(block, 1)
    if (core.isTraced) core.tracer!.after(this.boundary.left !== before || status === STATUS.PARTIAL)
    if (this.boundary.left === before) {
      if ((flags & RFLAGS.RF) !== 0) State.systemFlags.set(view, base, State.systemFlags.get(view, base) | RFLAGS.RF)
      if (status === STATUS.FAULT) debug.pending = 0
    } else if ((flags & RFLAGS.TF) !== 0 && !debug.isUntraced && !TO_HOST.has(status)) {
      if (core.events.shadow(this.boundary.done) !== 'ss') debug.pending |= DR6.BS
    }
    return status
  }

  /** Asks the hooks before the next instruction; true when one of them wants the run to end. */
  private consultTracer(): boolean {
    const tracer = this.core.tracer!
    return tracer.takeStop() || tracer.before(this.boundary.done)
  }

  /** Instructions done since the processor was made, while none runs. */
  private get doneOutside(): number {
    return this.core.totalExecuted + this.core.lastExecuted
  }

  /**
   * Sets rip behind or at the record that stopped, gives back what was paid for and not executed; returns the budget
   * left.
   */
  private settle(status: number): number {
    const { core } = this
    const { view, base } = core
    const left = State.budget.get(view, base)
    if (status === STATUS.NEED_BLOCK || status === STATUS.BUDGET) return left
    const record = State.record.get(view, base)
    const undone = UNDONE.has(status)
    if (status !== STATUS.CHECK_JUMP) {
      core.goTo(core.instructionAddress(record) + (undone ? 0 : core.instructionLength(record)))
    }
    return left + core.wasm.remaining(record) + (undone ? 1 : 0)
  }

  /** The exit that a status leads to; undefined to go on. */
  private leave(status: number): ExitReason | undefined {
    switch (status) {
      case STATUS.FAULT:
        this.fault(status)
        if (!this.core.bare) return EXIT.EXCEPTION
        return this.boundary.deliverFault() ? undefined : this.boundary.shutDown()
      case STATUS.SYSCALL:
        return EXIT.SYSCALL
      case STATUS.INTERRUPT:
        this.result.vector = this.core.vector
        return EXIT.INTERRUPT
      case STATUS.PRIVILEGED:
        return EXIT.PRIVILEGED
      case STATUS.HALT:
        this.core.events.activity = 'halted'
        return undefined
      default:
        return undefined
    }
  }

  /** Copies the fault out of the state. */
  private fault(status: number): void {
    const { core } = this
    const { view, base } = core
    this.result.vector = State.faultVector.get(view, base)
    this.result.errorCode = State.faultCode.get(view, base)
    if (this.result.errorCode === NOT_CANONICAL) {
      this.result.errorCode = 0
      const record = State.record.get(view, base)
      if (status !== STATUS.NEED_BLOCK && this.engine.stackFaults.usesStack(core, record)) this.result.vector = VECTOR.SS
    }
    const page = this.result.vector === VECTOR.PF
    this.result.address = page
      ? signedFromParts(State.faultAddress.low(view, base), State.faultAddress.high(view, base)) : 0
    this.boundary.tellException()
  }

  private finish(reason: ExitReason): ExitReason {
    this.core.lastExecuted = this.core.startBudget - this.boundary.left
    this.result.reason = reason
    return reason
  }

  storeAside(address: number, entry: Uint32Array): boolean {
    if (this.core.bare || address % 8 !== 0) {
      throw new XenError('INVALID_ARGUMENT', 'a hosted processor stores eight aligned bytes aside', { details: { address } })
    }
    return this.aside.execute(address, entry, () => this.run(1) === EXIT.BUDGET && this.core.lastExecuted === 1)
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

  /**
   * Finds or decodes the block at rip and enters it into the jump cache where that is not done by generated code; 0 on
   * a fault.
   */
  private provideBlock(): number {
    const { core, engine } = this
    const { view, base } = core
    if (!codeAllows(core, core.rip)) return 0
    const rip = signedFromParts(State.rip.low(view, base), State.rip.high(view, base))
    const host = core.translate(rip, ACCESS.EXECUTE)
    if (host === 0) return 0
    const { place } = this
    place.host = host
    place.mode = State.mode.get(view, base)
    place.rip = rip
    const known = engine.code.findCrossing(place)
    if (known !== 0) {
      this.rememberJump(known)
      return known
    }
    const block = engine.code.decode(place)
    if (core.countsWork) this.boundary.left -= engine.code.freshLines * CODE_LINE
    return block
  }

  /** Enters a block into the jump cache for rip. */
  private rememberJump(block: number): void {
    const { view, base } = this.core
    const [low, high] = [State.rip.low(view, base), State.rip.high(view, base)]
    const index = (low ^ ((low >>> 11) | (high << 21))) & (JUMP.entries - 1)
    const entry = base + JUMP.offset + index * JUMP.entryBytes
    view.setUint32(entry, low, true)
    view.setUint32(entry + 4, high, true)
    view.setUint32(entry + JUMP.context, State.context.get(view, base), true)
    view.setUint32(entry + JUMP.block, block, true)
  }

  /**
   * A copy of the block that generated code could not pay for, cut to what is left; 0 when only the slice was too short
   * for it, so that it is found and executed whole.
   */
  private shorten(left: number): number {
    const { view, base } = this.core
    const block = State.record.get(view, base)
    if (left >= view.getUint32(block + BLOCK.count, true)) return 0
    const target = base + SCRATCH_BLOCK.offset
    this.engine.clipper.clip(block, left, target)
    return target
  }

  flushTlb(): void {
    this.core.flushTlb()
  }

  flushPage(address: number): void {
    this.core.flushPage(address)
  }

  /**
   * Host address (byte offset in memory) that a linear address leads to, with the processor's present rights; undefined
   * where it would fault. Sets accessed and dirty bits as an access does.
   */
  translate(address: number, access: 'read' | 'write' | 'execute'): number | undefined {
    const kind = access === 'read' ? ACCESS.READ : access === 'write' ? ACCESS.WRITE : ACCESS.EXECUTE
    const host = this.core.translate(address, kind)
    return host === 0 ? undefined : host
  }

  takeDebugTrap(): number {
    const { debug } = this.core
    const bits = debug.pending
    debug.pending = 0
    return bits
  }

  cpuid(leaf: number, subleaf: number): CpuidAnswer {
    return this.core.cpuid.read(leaf >>> 0, subleaf >>> 0)
  }

  instruction(): Disassembled | undefined {
    return instructionAt(this.core, new Disassembler())
  }

  trace(hooks: TraceHooks): Trace {
    this.core.tracer ??= new Tracer(this.core, this.registers)
    return this.core.tracer.start(hooks)
  }

  inspect(): CacheInspection {
    return inspectProcessor(this.core.memory, this.core.base, this.engine.code)
  }

  inspectCode(): CodeInspection {
    return inspectCode(this.core.memory, this.engine.code)
  }

  save(): ProcessorState {
    const state = saveState(this.core, this.registers, { fpu: this.saveFpu(), done: this.doneOutside })
    return { ...state, ...savedRandom(this.core) }
  }

  restore(state: ProcessorState): void {
    const takeRandom = randomTaker(this.core, state.random)
    restoreState(this.core, this.registers, state, this.doneOutside)
    takeRandom()
  }

  saveFpu(): Uint8Array {
    const image = new Uint8Array(FXSAVE_BYTES)
    writeFxsave(this.core, new DataView(image.buffer), 0)
    return image
  }

  loadFpu(image: Uint8Array): void {
    readFxsave(this.core, new DataView(image.buffer, image.byteOffset, image.byteLength), 0)
  }

  destroy(): void {
    const { core, engine } = this
    if (this.isDestroyed) return
    core.tracer?.stopAll()
    engine.detach(core)
    this.isDestroyed = true
    // Who still holds a view of the registers must not see, and not change, those of the next owner.
    core.base = engine.memory.layout.retired
    clearAll(core.memory, core.base)
    core.updatePermissions()
    this.release()
  }

  /** True while 64-bit code runs. @internal */
  get long(): boolean {
    return (State.mode.get(this.core.view, this.core.base) & MODE.SIZE) === MODE.CODE64
  }
}
