/**
 * One logical processor: drives the generated interpreter, provides it with decoded blocks, and turns its statuses into
 * exits. A budget is handed out in slices, because V8 replaces the interpreter's first, slow compilation only between
 * two calls.
 */
import { CR0, CR4, EFER, GPR, RFLAGS, SEGMENT, VECTOR } from '../../x86/index.ts'
import { signedFromParts } from '../../util/index.ts'
import { EXIT } from '../processor-types.ts'
import type { ExitReason, Processor, ProcessorExit, ProcessorOptions, ProcessorState } from '../processor-types.ts'
import { Clipper } from './clip.ts'
import type { CodePlace } from './code-cache.ts'
import { Core } from './core.ts'
import { FXSAVE_BYTES, readFxsave, resetFpu, writeFxsave } from './handlers/fpu.ts'
import type { Engine } from './interpreter/engine.ts'
import { CoreRegisters } from './registers.ts'
import { ACCESS } from './runtime/tlb.ts'
import { NOT_CANONICAL } from './runtime/walk.ts'
import { restoreState, saveState } from './saved-state.ts'
import { MODE, SCRATCH_BLOCK, STATUS, State } from './state.ts'

/** Instructions that generated code executes before it comes back once. */
const SLICE = 400_000

/** What the statuses mean for the instruction at hand: not executed, executed, or executed and rip set. */
const UNDONE = new Set<number>([STATUS.FAULT, STATUS.PRIVILEGED, STATUS.PARTIAL])

/** A processor of the machine. */
export class MachineProcessor implements Processor {
  readonly registers: CoreRegisters
  readonly exit: ProcessorExit
  private readonly core: Core
  private readonly engine: Engine
  private readonly clipper: Clipper
  private readonly release: () => void
  private readonly result = { reason: EXIT.BUDGET as ExitReason, vector: 0, errorCode: 0, address: 0 }
  private count = 0

  constructor(engine: Engine, base: number, options: ProcessorOptions & { release: () => void }) {
    this.engine = engine
    this.release = options.release
    this.core = new Core({
      memory: engine.memory, base, bare: options.mode === 'bare', descriptors: options.descriptors,
      timestamp: options.timestamp,
    })
    this.registers = new CoreRegisters(this.core)
    this.exit = Object.assign(this.result, { request: this.core.request }) as unknown as ProcessorExit
    this.clipper = new Clipper(engine.memory.view, engine.table)
    this.reset()
    engine.attach(this.core)
  }

  /** The state that a processor starts in: hosted ones in 64-bit user mode. */
  private reset(): void {
    const { core } = this
    const { view, base, memory } = core
    memory.bytes.fill(0, base, base + State.size)
    const { layout } = memory
    State.codeLines.set(view, base, layout.codeLines)
    State.frameNotes.set(view, base, layout.frameNotes)
    State.blockTable.set(view, base, layout.blockTable)
    const low = layout.firstFrame * 4096
    State.physicalBase.set(view, base, core.bare ? low : 0)
    State.physicalLow.set(view, base, low)
    State.physicalSize.set(view, base, layout.endFrame * 4096 - low)
    core.clearTlb()
    resetFpu(core)
    State.xcr0.set(view, base, 1)
    core.setFlags(RFLAGS.IF)
    core.efer = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE
    core.wasm = this.engine.interpreter(64)
    core.setControl(0, (CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.PG) >>> 0, 0)
    core.setControl(4, CR4.PAE | CR4.PGE | CR4.OSFXSR | CR4.OSXMMEXCPT, 0)
    const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
    core.setSegment(SEGMENT.ss, { ...flat, selector: 0xe02b, attributes: 0xc0f3 })
    core.setSegment(SEGMENT.cs, { ...flat, selector: 0xe033, attributes: 0xa0fb })
    core.flushTlb()
  }

  get executed(): number {
    return this.count
  }

  run(budget: number): ExitReason {
    const { core } = this
    const { view, base } = core
    core.totalExecuted += this.count
    this.count = 0
    core.startBudget = Math.max(0, Math.min(Math.floor(budget), 0x7fff_0000))
    let left = core.startBudget
    let block = 0
    for (;;) {
      if (left <= 0) return this.finish(EXIT.BUDGET, 0)
      const slice = Math.min(left, SLICE)
      core.keptBudget = left - slice
      State.budget.set(view, base, slice)
      const status = core.wasm.run(base, block)
      left = core.keptBudget + this.settle(status)
      block = 0
      if (status === STATUS.NEED_BLOCK) {
        // A fetch belongs to the next instruction: without budget for it, it must not fault yet.
        if (left <= 0) continue
        block = this.provideBlock()
        if (block === 0) return this.finishFault(left)
      } else if (status === STATUS.BUDGET) {
        block = left > 0 && left < BLOCK_LIMIT ? this.shorten(left) : 0
      } else if (status !== STATUS.PARTIAL) {
        const reason = this.leave(status)
        if (reason !== undefined) return this.finish(reason, left)
      }
    }
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
      core.setRip(core.instructionAddress(record) + (undone ? 0 : core.instructionLength(record)))
    }
    return left + core.wasm.remaining(record) + (undone ? 1 : 0)
  }

  /** The exit that a status leads to; undefined to go on. */
  private leave(status: number): ExitReason | undefined {
    switch (status) {
      case STATUS.FAULT:
        return this.fault(status)
      case STATUS.SYSCALL:
        return EXIT.SYSCALL
      case STATUS.INTERRUPT:
        this.result.vector = this.core.vector
        return EXIT.INTERRUPT
      case STATUS.PRIVILEGED:
        return EXIT.PRIVILEGED
      case STATUS.HALT:
        return EXIT.HALT
      default:
        return undefined
    }
  }

  /** Copies the fault out of the state. */
  private fault(status: number): ExitReason {
    const { core } = this
    const { view, base } = core
    this.result.vector = State.faultVector.get(view, base)
    this.result.errorCode = State.faultCode.get(view, base)
    if (this.result.errorCode === NOT_CANONICAL) {
      this.result.errorCode = 0
      const record = State.record.get(view, base)
      const atTop = core.low(GPR.rsp * 8) === State.faultAddress.low(view, base) &&
        core.high(GPR.rsp * 8) === State.faultAddress.high(view, base)
      if (status !== STATUS.NEED_BLOCK && this.clipper.usesStack(record, atTop)) this.result.vector = VECTOR.SS
    }
    const page = this.result.vector === VECTOR.PF
    this.result.address = page
      ? signedFromParts(State.faultAddress.low(view, base), State.faultAddress.high(view, base)) : 0
    return EXIT.EXCEPTION
  }

  private finish(reason: ExitReason, left: number): ExitReason {
    this.count = this.core.startBudget - left
    this.result.reason = reason
    return reason
  }

  private finishFault(left: number): ExitReason {
    return this.finish(this.fault(STATUS.NEED_BLOCK), left)
  }

  /**
   * Finds or decodes the block at rip and enters it into the jump cache where that is not done by generated code; 0 on
   * a fault.
   */
  private provideBlock(): number {
    const { core, engine } = this
    const { view, base } = core
    const rip = this.registers.rip()
    const host = core.translateCode(rip)
    if (host === 0) return 0
    const next = (Math.floor(rip / 4096) + 1) * 4096
    const place: CodePlace = { host, mode: State.mode.get(view, base), nextPage: () => core.translateCode(next) }
    const known = engine.code.findCrossing(place)
    if (known !== 0) {
      core.rememberJump(known)
      return known
    }
    return engine.code.decode(place)
  }

  /** A copy of the block that generated code could not pay for, cut to what is left. */
  private shorten(left: number): number {
    const { view, base } = this.core
    const target = base + SCRATCH_BLOCK.offset
    this.clipper.clip(State.record.get(view, base), left, target)
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

  save(): ProcessorState {
    return saveState(this.core, this.registers, this.saveFpu())
  }

  restore(state: ProcessorState): void {
    restoreState(this.core, this.registers, state)
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
    this.engine.detach(this.core)
    this.release()
  }

  /** True while 64-bit code runs. @internal */
  get long(): boolean {
    return (State.mode.get(this.core.view, this.core.base) & MODE.SIZE) === MODE.CODE64
  }
}

/** A budget below this may be smaller than a block; above it never is. */
const BLOCK_LIMIT = 64
