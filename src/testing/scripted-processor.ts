/**
 * A processor whose instructions are functions of a test: registers in plain arrays, a script of steps, each of which
 * does something and says why the run ended. It knows no x86.
 */
import type {
  CacheInspection, CodeInspection, Disassembled, ExitReason, Processor, ProcessorExit, TableNews, ProcessorProfile, ProcessorState, Registers, SegmentState, Trace, TraceHooks,
} from '../machine/index.ts'
import type { CpuidAnswer } from '../x86/index.ts'
import { PAGE_SHIFT, RFLAGS, SEGMENT } from '../x86/index.ts'
import { EXIT, disassemble } from '../machine/index.ts'
import { XenError, sameState } from '../util/index.ts'

const ARITHMETIC_FLAGS = RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF
const NULL: SegmentState = { selector: 0, baseLow: 0, baseHigh: 0, limit: 0, attributes: 0 }

/** Registers in plain arrays. */
export class PlainRegisters implements Registers {
  private readonly lows = new Uint32Array(16)
  private readonly highs = new Uint32Array(16)
  private readonly segments: SegmentState[] = [NULL, NULL, NULL, NULL, NULL, NULL]
  private readonly control = new Uint32Array(18)
  private readonly debug = new Uint32Array(16)
  private rflags = 0x202
  private instruction = 0
  private hiddenLow = 0
  private auxiliary = 0
  private parts = 1
  private hiddenHigh = 0

  low(general: number): number {
    return this.lows[general]!
  }

  high(general: number): number {
    return this.highs[general]!
  }

  set(general: number, low: number, high: number): void {
    this.lows[general] = low
    this.highs[general] = high
  }

  rip(): number {
    return this.instruction
  }

  keepRip(general: number): void {
    this.set(general, this.instruction, Math.floor(this.instruction / 2 ** 32))
  }

  setRip(low: number, high: number): void {
    this.instruction = (high | 0) * 2 ** 32 + (low >>> 0)
  }

  flags(): number {
    return this.rflags
  }

  systemFlags(): number {
    return this.rflags & ~ARITHMETIC_FLAGS
  }

  setFlags(value: number): void {
    this.rflags = (value | 2) >>> 0
  }

  selector(index: number): number {
    return this.segments[index]!.selector
  }

  attributes(index: number): number {
    return this.segments[index]!.attributes
  }

  segment(index: number): SegmentState {
    return this.segments[index]!
  }

  setSegment(index: number, state: SegmentState): void {
    this.segments[index] = state
  }

  controlLow(index: number): number {
    return this.control[index * 2]!
  }

  controlHigh(index: number): number {
    return this.control[index * 2 + 1]!
  }

  setControl(index: number, low: number, high: number): void {
    this.control[index * 2] = low
    this.control[index * 2 + 1] = high
  }

  tscAux(): number {
    return this.auxiliary
  }

  setTscAux(value: number): void {
    this.auxiliary = value >>> 0
  }

  xcr0(): number {
    return this.parts
  }

  setXcr0(value: number): void {
    this.parts = value >>> 0
  }

  kernelGsBaseLow(): number {
    return this.hiddenLow
  }

  kernelGsBaseHigh(): number {
    return this.hiddenHigh
  }

  setKernelGsBase(low: number, high: number): void {
    this.hiddenLow = low >>> 0
    this.hiddenHigh = high >>> 0
  }

  swapGsBase(): void {
    const { hiddenLow, hiddenHigh } = this
    const gs = this.segments[SEGMENT.gs]!
    this.setKernelGsBase(gs.baseLow, gs.baseHigh)
    this.segments[SEGMENT.gs] = { ...gs, baseLow: hiddenLow, baseHigh: hiddenHigh }
  }

  /** Registers with the same values. */
  copy(): PlainRegisters {
    const copy = new PlainRegisters()
    copy.take(this)
    return copy
  }

  /** Takes the general registers, rip and flags of others. */
  take(other: PlainRegisters): void {
    this.lows.set(other.lows)
    this.highs.set(other.highs)
    this.instruction = other.instruction
    this.rflags = other.rflags
  }

  debugLow(index: number): number {
    return this.debug[index * 2]!
  }

  debugHigh(index: number): number {
    return this.debug[index * 2 + 1]!
  }

  setDebug(index: number, low: number, high: number): void {
    this.debug[index * 2] = low
    this.debug[index * 2 + 1] = high
  }
}

/** What one step of a script ends with; nothing: the run goes on with the next step. */
export interface StepEnd {
  readonly reason: ExitReason
  /** For a store that goes aside: what the eight bytes are afterwards. */
  readonly store?: readonly [low: number, high: number]
  readonly vector?: number
  readonly errorCode?: number
  readonly address?: number
  readonly request?: Partial<ProcessorExit['request']>
}

/** Acts as one instruction. */
export type Step = (registers: PlainRegisters) => StepEnd | undefined

/**
 * Runs a script; without one it spends its budget. A hypervisor takes it for a machine's processor.
 *
 * @example
 * const processor = new ScriptedProcessor()
 * const hypervisor = new Hypervisor({ ...options, createProcessor: () => processor })
 * processor.script.push(
 *   (registers) => { registers.set(GPR.rax, HYPERVISOR.sched_op, 0); return undefined },
 *   () => ({ reason: EXIT.SYSCALL }),
 * )
 */
export class ScriptedProcessor implements Processor {
  readonly registers = new PlainRegisters()
  readonly exit: { -readonly [K in keyof ProcessorExit]: ProcessorExit[K] } = {
    reason: EXIT.BUDGET, vector: 0, errorCode: 0, address: 0,
    request: { operation: 'other', length: 2, size: 4, register: 0, general: 0, port: 0 },
    physical: { address: 0, access: 'read', isPresent: false, isTable: false },
  }
  /** The instructions to come; a run takes them away. */
  readonly script: Step[] = []
  /** The traces that were asked for. */
  readonly traces: TraceHooks[] = []
  private before: PlainRegisters | undefined
  executed = 0
  /** How often the TLB was flushed. */
  flushes = 0
  /** Keeps nothing of page tables. */
  readonly tables: TableNews = { entryChanged: () => {}, tablesChanged: () => {} }
  /** Whether it was given back. */
  destroyed = false

  run(budget: number): ExitReason {
    this.executed = 0
    while (this.executed < budget) {
      const step = this.script.shift()
      if (step === undefined) {
        this.executed = budget
        break
      }
      this.executed += 1
      const end = step(this.registers)
      if (end === undefined) continue
      const { request } = this.exit
      Object.assign(this.exit, { vector: 0, errorCode: 0, address: 0 }, end, { request: { ...request, ...end.request } })
      return end.reason
    }
    this.exit.reason = EXIT.BUDGET
    return EXIT.BUDGET
  }

  storeAside(_address: number, entry: Uint32Array): boolean {
    const step = this.script.shift()
    if (step === undefined) return false
    this.before = this.registers.copy()
    const end = step(this.registers)
    if (end?.store === undefined) {
      this.undoAside()
      return false
    }
    entry.set(end.store)
    return true
  }

  undoAside(): void {
    this.registers.take(this.before!)
  }

  flushTlb(): void {
    this.flushes += 1
  }

  flushPage(): void {}

  takeDebugTrap(): number {
    return 0
  }

  cpuid(leaf: number, subleaf: number): CpuidAnswer {
    return [leaf, subleaf, 0xffff_ffff, 0xffff_ffff]
  }

  /** Everything is UD2. */
  instruction(): Disassembled {
    return disassemble(Uint8Array.of(0x0f, 0x0b), { address: this.registers.rip() })
  }

  profile(): ProcessorProfile {
    return { slice: 0, samples: [], exits: {} }
  }

  trace(hooks: TraceHooks): Trace {
    this.traces.push(hooks)
    return { active: true, error: undefined, stop: () => {} }
  }

  /** It remembers nothing: its steps look everything up. */
  inspect(): CacheInspection {
    return { root: this.registers.controlLow(3) >>> PAGE_SHIFT, isUser: true, translations: [], jumps: [], kept: [], faults: [] }
  }

  inspectCode(): CodeInspection {
    return { blocks: 0, faults: [] }
  }

  /** What the hypervisor can see of it; it is not taken back. */
  save(): ProcessorState {
    const { registers } = this
    const pairs = (numbers: readonly number[], low: (i: number) => number, high: (i: number) => number): number[] => numbers.flatMap((i) => [low(i), high(i)])
    const general = Array.from({ length: 16 }, (_, i) => i)
    return {
      version: 3, general: pairs(general, (i) => registers.low(i), (i) => registers.high(i)), rip: [registers.rip() >>> 0, 0],
      flags: registers.flags(), segments: [0, 1, 2, 3, 4, 5].map((i) => registers.segment(i)),
      control: pairs([0, 2, 3, 4, 8], (i) => registers.controlLow(i), (i) => registers.controlHigh(i)),
      kernelGsBase: [registers.kernelGsBaseLow(), registers.kernelGsBaseHigh()],
      debug: pairs([0, 1, 2, 3, 6, 7], (i) => registers.debugLow(i), (i) => registers.debugHigh(i)),
      fpu: [...this.saveFpu()], xcr0: 1, shadow: 'none', debugTrap: 0, system: undefined,
    }
  }

  isAsSaved(state: ProcessorState): boolean {
    return sameState(this.save(), state)
  }

  load(): void {
    throw new XenError('NOT_SUPPORTED', 'a scripted processor is not restored')
  }

  saveFpu(): Uint8Array {
    return new Uint8Array(512)
  }

  loadFpu(): void {}

  saveExtendedState(): Uint8Array {
    const area = new Uint8Array(832)
    area.set(this.saveFpu())
    return area
  }

  loadExtendedState(): boolean {
    return true
  }

  destroy(): void {
    this.destroyed = true
  }
}
