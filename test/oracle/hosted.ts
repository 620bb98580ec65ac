/**
 * Our processor as an executor of the oracle's cases: a machine with one hosted processor and page tables that map the
 * test regions where the native executor has them. Answers are given in the words of a Linux process: what ring 3 may
 * not do is a general protection fault.
 */
import { EXIT, Machine, type CompilerFigures, type MachineOptions, type Processor, type SegmentState } from '../../src/machine/index.ts'
import { XSAVE } from '../../src/machine/cpu/layout/xsave-area.ts'
import { unpack } from '../../src/machine/cpu/system/tables.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { CR4, SEGMENT, XCR0 } from '../../src/x86/index.ts'
import { registersOf, type Runner, type Snapshot } from '../support/lockstep.ts'
import { COMPARED_LEVEL } from './forms.ts'
import { descriptorOf, modeOf } from './segments.ts'
import { addFault, type Change, END, FX_BYTES, type OracleCase, type Outcome, patternOf, REGIONS, UPPER_BYTES } from './wire.ts'

const PAGE = 4096
const MOST_RUNS = 20_000
/** As many changed words as the native executor tells. */
const MOST_CHANGES = 1100
const GENERAL_PROTECTION = 13
const DEBUG = 1
/** Ends below it are vectors of exceptions. */
const FIRST_OTHER_END = 32
const TRAP_FLAG = 0x100
/** More instructions than any step takes: the trap flag has to end it. */
const PLENTY = 1_000_000
/** Bytes of INT n; behind a load of SS both are one step. */
const INT_LENGTH = 2
const ALL_PARTS = XCR0.X87 | XCR0.SSE | XCR0.AVX
const PRESENT = 1
const WRITABLE = 2
const USER = 4
const NO_EXECUTE_HIGH = 0x8000_0000

/** Selector of the segment in whose limit Linux keeps the number of the processor. */
const PROCESSOR_NUMBER = 0x78

interface Region {
  readonly address: number
  readonly writable: boolean
  readonly firstFrame: number
  readonly pages: number
  /** Words of the region in the machine's memory. */
  readonly live: Uint32Array
  readonly bytes: Uint8Array
  readonly pristine: Uint8Array
  readonly before: Uint8Array
}

/** Operations that a process carries out although a hosted processor leaves them to its host. */
const UNCOMPARED = new Set(['cpuid', 'rdtsc', 'rdtscp'])

/** What an executor answers: an outcome, or that the instruction's effect is the host's to decide. */
export interface HostedOutcome extends Outcome {
  readonly uncompared: boolean
}

/** How an executor's machine is made. */
export type ExecutorOptions = Partial<MachineOptions> & { readonly library?: { readonly Machine: typeof Machine } }

/** Runs cases on our processor. */
export class HostedExecutor {
  readonly processor: Processor
  private readonly machine: Machine
  private readonly regions: readonly Region[]
  private readonly root: number
  private nextFrame: number
  /** The case has looked at a descriptor that is another one on each processor underneath. */
  private askedProcessorNumber = false
  /** The same numbers for each run of a case, the time among them. */
  private random = new SeededRandom(1)
  /** Width of the case's code. */
  private code: 64 | 32 | 16 = 64

  /** `library`: the machine layer that it is of. */
  constructor(dataSeed: number, { library = { Machine }, ...options }: ExecutorOptions = {}) {
    this.machine = new library.Machine({ memoryBytes: 1 << 20, cpu: COMPARED_LEVEL, ...options })
    this.nextFrame = this.machine.memory.firstFrame
    this.root = this.takeFrame()
    this.regions = REGIONS.map((region) => this.makeRegion(region, dataSeed))
    const descriptors = {
      read: (selector: number, out: Uint32Array) => this.readDescriptor(selector, out),
      // Linux' own table stays as it is.
      isConstant: (selector: number) => (selector & 4) === 0,
    }
    this.processor = this.machine.createProcessor({
      mode: 'hosted', descriptors, random: { next: () => this.random.next() }, timestamp: { low: () => this.random.next(), high: () => 0 },
    })
    const { registers } = this.processor
    registers.setControl(3, this.root * PAGE, 0)
    registers.setControl(4, (registers.controlLow(4) | CR4.FSGSBASE) >>> 0, 0)
    registers.setXcr0(ALL_PARTS)
  }

  /** Cases of 64-bit code have no local table, as natively. */
  private readDescriptor(selector: number, out: Uint32Array): boolean {
    if ((selector & 0xfffc) === PROCESSOR_NUMBER) this.askedProcessorNumber = true
    const words = this.code === 64 && (selector & 4) !== 0 ? undefined : descriptorOf(selector)
    if (words === undefined) return false
    out.set(words)
    return true
  }

  private takeFrame(): number {
    const frame = this.nextFrame
    this.nextFrame += 1
    this.machine.memory.bytes.fill(0, frame * PAGE, (frame + 1) * PAGE)
    return frame
  }

  private makeRegion(region: (typeof REGIONS)[number], dataSeed: number): Region {
    const pristine = patternOf(region.address, region.pages, region.executable, dataSeed)
    const firstFrame = this.nextFrame
    for (let page = 0; page < region.pages; page += 1) this.takeFrame()
    for (let page = 0; page < region.pages; page += 1) {
      this.mapPage(region.address + page * PAGE, firstFrame + page, region.writable, region.executable)
    }
    const { buffer } = this.machine.memory
    const bytes = new Uint8Array(buffer, firstFrame * PAGE, region.pages * PAGE)
    bytes.set(pristine)
    return {
      address: region.address, writable: region.writable, firstFrame, pages: region.pages, pristine, bytes,
      live: new Uint32Array(buffer, firstFrame * PAGE, region.pages * (PAGE / 4)), before: pristine.slice(),
    }
  }

  /** Enters one page into the four-level table. Accessed and dirty are set, so that tables never change. */
  private mapPage(address: number, frame: number, writable: boolean, executable: boolean): void {
    const { words } = this.machine.memory
    let table = this.root
    for (let level = 3; level >= 1; level -= 1) {
      const slot = table * (PAGE / 4) + (Math.floor(address / 2 ** (12 + 9 * level)) & 511) * 2
      if (words[slot] === 0) words[slot] = (this.takeFrame() * PAGE) | PRESENT | WRITABLE | USER | 0x20
      table = words[slot]! >>> 12
    }
    const slot = table * (PAGE / 4) + ((address >>> 12) & 511) * 2
    words[slot] = (frame * PAGE) | PRESENT | USER | 0x60 | (writable ? WRITABLE : 0)
    words[slot + 1] = executable ? 0 : NO_EXECUTE_HIGH
  }

  private regionOf(address: number): Region | undefined {
    return this.regions.find((region) => address >= region.address && address < region.address + region.pages * PAGE)
  }

  private byteAt(address: number): number {
    const region = this.regionOf(address)
    return region === undefined ? -1 : region.bytes[address - region.address]!
  }

  /**
   * Runs one case and puts memory back: by the trap flag, as the native executor does, with a budget of one instruction
   * at a time, or all with one budget.
   */
  run(one: OracleCase, how: 'traced' | 'single steps' | 'at once' = 'traced'): HostedOutcome {
    this.load(one)
    const outcome = how === 'at once' ? this.runLoaded(one) : this.finish(this.begin(one), this.steps(one.steps, how))
    this.unload(one)
    return outcome
  }

  /** Brings a case's bytes into memory. */
  load(one: OracleCase): void {
    for (const patch of one.patches) this.patch(patch.address, patch.bytes, patch.bytes.length)
  }

  /** What the compiling tier has done. */
  figures(): CompilerFigures | undefined {
    return this.machine.compilerFigures()
  }

  /** Puts back what a case's bytes stood for. */
  unload(one: OracleCase): void {
    for (const patch of one.patches) this.patch(patch.address, undefined, patch.bytes.length)
  }

  /**
   * Runs a case that is loaded from its beginning to its end, and puts memory back as it was loaded; code that the case has
   * not written stays as the processor knows it.
   */
  runLoaded(one: OracleCase): HostedOutcome {
    const run = this.begin(one)
    while (run.advance(one.steps));
    return this.finish(run)
  }

  /** Enters a case that is loaded; it has not begun to run. */
  begin(one: OracleCase): CaseRun {
    this.enter(one)
    this.askedProcessorNumber = false
    return new CaseRun(this, one)
  }

  /** What a case has come to. Puts memory back as it was loaded. */
  finish(run: CaseRun, stop = run.stop): HostedOutcome {
    if (stop === undefined) throw new Error('the case has not ended')
    return { ...this.outcome(stop), changes: this.collectChanges() }
  }

  private patch(address: number, bytes: Uint8Array | undefined, length: number): void {
    const region = this.regionOf(address)
    if (region === undefined) return
    const offset = address - region.address
    const source = bytes ?? region.pristine.subarray(offset, offset + length)
    region.bytes.set(source, offset)
    region.before.set(source, offset)
    this.machine.memory.markWritten(region.firstFrame + Math.floor(offset / PAGE))
    this.machine.memory.markWritten(region.firstFrame + Math.floor((offset + length - 1) / PAGE))
  }

  private enter(one: OracleCase): void {
    const { registers } = this.processor
    this.random = new SeededRandom(one.rip)
    for (let i = 0; i < 16; i += 1) registers.set(i, one.general[i * 2]!, one.general[i * 2 + 1]!)
    registers.setFlags(one.flags)
    // Code first: it decides what the others mean, and what rip counts from.
    for (const index of [SEGMENT.cs, SEGMENT.ss, SEGMENT.es, SEGMENT.ds, SEGMENT.fs, SEGMENT.gs]) {
      const base = index === SEGMENT.fs ? one.fsBase : index === SEGMENT.gs ? one.gsBase : 0
      registers.setSegment(index, segmentState(one.selectors[index]!, base))
    }
    registers.setRip(one.rip, 0)
    this.code = modeOf(one.selectors).code
    const image = new Uint8Array(XSAVE.bytes)
    image.set(one.fx.subarray(0, FX_BYTES))
    image[XSAVE.holds] = ALL_PARTS
    image.set(one.upper, XSAVE.avx)
    this.processor.loadExtendedState(image)
  }

  private steps(count: number, how: 'traced' | 'single steps'): Stop {
    const { processor } = this
    const { registers } = processor
    const budget = how === 'traced' ? PLENTY : 1
    let code = registers.segment(SEGMENT.cs)
    let at = registers.rip()
    let done = 0
    for (let runs = 0; runs < MOST_RUNS; runs += 1) {
      if (how === 'traced') registers.setFlags(registers.flags() | TRAP_FLAG)
      const reason = processor.run(budget)
      const isStep = reason === EXIT.BUDGET || (reason === EXIT.EXCEPTION && processor.exit.vector === DEBUG)
      if (!isStep) return this.stopped(reason, processor.executed === 2 ? registers.rip() - INT_LENGTH : at, done)
      const rip = registers.rip()
      if (rip === at && this.repeats(at + code.baseLow)) continue
      done += 1
      if (done >= count) return { end: END.STEPS, steps: done }
      if (rip < 0 || rip >= 0x1_0000_0000) return { end: END.LEFT, steps: done }
      at = rip
      code = registers.segment(SEGMENT.cs)
    }
    return { end: END.TRAPS, steps: done }
  }

  /** Says an exit as Linux would say it to the process. */
  stopped(reason: number, at: number, steps: number): Stop {
    const { exit, registers } = this.processor
    if (reason === EXIT.EXCEPTION) {
      return { end: exit.vector, error: exit.errorCode, address: exit.vector === 14 ? exit.address : 0, steps }
    }
    if (reason === EXIT.SYSCALL) return { end: END.SYSCALL, steps }
    if (reason === EXIT.INTERRUPT) {
      if (exit.vector === 3 || exit.vector === 4) return { end: exit.vector, steps }
      if (exit.vector === 0x80) return { end: END.SYSCALL, steps }
      registers.setRip(at, 0)
      return { end: GENERAL_PROTECTION, error: exit.vector * 8 + 2, steps }
    }
    const uncompared = reason === EXIT.PRIVILEGED && UNCOMPARED.has(exit.request.operation)
    registers.setRip(at, 0)
    return { end: GENERAL_PROTECTION, error: 0, steps, uncompared }
  }

  /** Whether a byte is a prefix, but for those of repetition. */
  private isPrefix(byte: number): boolean {
    return isPlainPrefix(byte) && (this.code === 64 || (byte & 0xf0) !== 0x40)
  }

  /** Whether a repeated string instruction stands at an address: each iteration is a step of its own. */
  private repeats(address: number): boolean {
    let repeat = false
    for (let i = 0; i < 15; i += 1) {
      const byte = this.byteAt(address + i)
      if (byte === 0xf2 || byte === 0xf3) repeat = true
      else if (!this.isPrefix(byte)) {
        return repeat && ((byte & 0xfc) === 0x6c || (byte & 0xfc) === 0xa4 || (byte >= 0xaa && byte <= 0xaf))
      }
    }
    return false
  }

  private collectChanges(): Change[] {
    const changes: Change[] = []
    for (const region of this.regions) {
      if (!region.writable) continue
      const before = new Uint32Array(region.before.buffer)
      const { live } = region
      for (let word = 0; word < live.length; word += 2) {
        if (live[word] === before[word] && live[word + 1] === before[word + 1]) continue
        const change = { address: region.address + word * 4, low: live[word]!, high: live[word + 1]! }
        if (changes.length < MOST_CHANGES) changes.push(change)
        live[word] = before[word]!
        live[word + 1] = before[word + 1]!
        this.machine.memory.markWritten(region.firstFrame + (word >>> 10))
      }
    }
    return changes
  }

  private outcome(stop: Stop): Omit<HostedOutcome, 'changes'> {
    const { registers } = this.processor
    const general = new Uint32Array(32)
    for (let i = 0; i < 16; i += 1) {
      general[i * 2] = registers.low(i)
      general[i * 2 + 1] = registers.high(i)
    }
    const state = this.processor.saveExtendedState()
    const fs = registers.segment(SEGMENT.fs)
    const gs = registers.segment(SEGMENT.gs)
    return {
      end: stop.end, error: stop.error ?? 0, cr2: halves(stop.address ?? 0), general, rip: halves(registers.rip()),
      flags: registers.flags(), fsBase: [fs.baseLow, fs.baseHigh], gsBase: [gs.baseLow, gs.baseHigh],
      selectors: [0, 1, 2, 3, 4, 5].map((index) => registers.segment(index).selector), steps: stop.steps,
      fx: state.slice(0, FX_BYTES), upper: state.slice(XSAVE.avx, XSAVE.avx + UPPER_BYTES),
      uncompared: stop.uncompared === true || this.askedProcessorNumber,
      faults: stop.faults ?? 0,
    }
  }
}

/** A case under way, that stops where it is told to. */
export class CaseRun implements Runner {
  /** Why it has ended. */
  stop: Stop | undefined
  done = 0
  private readonly executor: HostedExecutor
  private readonly one: OracleCase
  private faults = 0

  constructor(executor: HostedExecutor, one: OracleCase) {
    this.executor = executor
    this.one = one
  }

  /** Goes on by so many instructions, or up to an exception or the end; false at the end. */
  advance(count: number): boolean {
    return this.advanceChecked(count, () => {})
  }

  /** The same; `atStop` sees the processor where it has stopped, before an exception is gone on behind. */
  advanceChecked(count: number, atStop: () => void): boolean {
    const { processor } = this.executor
    const reason = processor.run(Math.min(count, this.one.steps - this.done))
    this.done += processor.executed
    atStop()
    this.stop = this.ended(reason)
    return this.stop === undefined
  }

  private ended(reason: number): Stop | undefined {
    const { done, one: { steps, handler = 0 } } = this
    const { registers, exit } = this.executor.processor
    // A program that sets the trap flag itself is told of each instruction; that is not the comparison's.
    if (reason === EXIT.EXCEPTION && exit.vector === DEBUG && done < steps) return undefined
    if (done >= steps) return { end: END.STEPS, steps: done, faults: this.faults }
    if (reason === EXIT.BUDGET) return undefined
    const rip = registers.rip()
    const stop = this.executor.stopped(reason, rip, done)
    if (handler === 0 || stop.end >= FIRST_OTHER_END) return { ...stop, faults: this.faults }
    // Only the native worker's own code could lie there.
    if (rip < 0 || rip >= 0x1_0000_0000) return { end: END.LEFT, steps: done, faults: this.faults }
    this.faults = addFault(this.faults, rip, stop.end)
    registers.setRip(handler, 0)
    return undefined
  }

  snapshot(): Snapshot {
    return { ...registersOf(this.executor.processor), faults: String(this.faults), end: String(this.stop?.end) }
  }
}

interface Stop {
  readonly end: number
  readonly steps: number
  readonly error?: number
  readonly address?: number
  readonly uncompared?: boolean
  readonly faults?: number
}

const halves = (value: number): [number, number] => [value >>> 0, Math.floor(value / 0x1_0000_0000) >>> 0]

const isPlainPrefix = (byte: number): boolean =>
  (byte & 0xf0) === 0x40 || (byte & 0xfe) === 0x66 || (byte & 0xfe) === 0x64 || (byte & 0xe7) === 0x26 || byte === 0xf0

/** What a segment register holds outside of kernels; one without a descriptor keeps a base of its own. */
export function segmentState(selector: number, base: number): SegmentState {
  const words = descriptorOf(selector)
  if ((selector & 0xfffc) === 0 || words === undefined) {
    return { selector, baseLow: base, baseHigh: 0, limit: 0xffff_ffff, attributes: 0 }
  }
  return unpack(selector, words[0], words[1])
}
