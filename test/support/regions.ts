/**
 * Regions without whoever samples and installs them: a listing is decoded by running it, its region is found, written and
 * called by hand, in turn with the interpreter; a second machine runs the same by the interpreter alone.
 */
import { expect } from 'vitest'
import type { Core } from '../../src/machine/cpu/core/core.ts'
import { BLOCK } from '../../src/machine/cpu/layout/record.ts'
import { ACCESS, STATUS, State } from '../../src/machine/cpu/layout/state.ts'
import { microTable } from '../../src/machine/cpu/interpreter/compiled.ts'
import type { Engine } from '../../src/machine/cpu/processor/engine.ts'
import { EXIT_CAUSES } from '../../src/machine/cpu/region/form/exit-causes.ts'
import { makeRegions } from '../../src/machine/cpu/region/life/makers.ts'
import type { DiscoverOptions } from '../../src/machine/cpu/region/form/discover.ts'
import type { RegionMakers } from '../../src/machine/cpu/region/life/makers.ts'
import type { CodeSource, Refusal, Region } from '../../src/machine/cpu/region/form/region.ts'
import { EXIT } from '../../src/machine/index.ts'
import { ModuleWriter } from '../../src/wasm/index.ts'
import { GPR } from '../../src/x86/index.ts'
import { CODE, CpuBench, DATA, STACK_END } from './cpu.ts'
import { assemble } from './assembler.ts'

/** A function of a region: (base, record) -> status. */
type RegionFunction = (base: number, record: number) => number

/** What a processor keeps to itself. */
interface Inside {
  readonly core: Core
  readonly engine: Engine
}

/** Code on a processor, and regions of it. */
export class RegionBench extends CpuBench {
  private readonly inside = this.cpu as unknown as Inside
  private readonly makers: RegionMakers

  constructor(code: Uint8Array) {
    super()
    const { engine } = this.inside
    this.makers = makeRegions({ memory: engine.memory, table: microTable(), interpreter: engine.interpreter(64) })
    this.write(CODE, code)
  }

  /** Address of what is executed next. */
  get rip(): number {
    return this.inside.core.registers.linearRip
  }

  private get source(): CodeSource {
    const { core, engine } = this.inside
    const { view, base } = core.registers
    const blocks = [...engine.code.blocks()]
    return {
      mode: State.mode.get(view, base),
      hostOf: (linear) => core.memory.translate(linear, ACCESS.EXECUTE),
      blockAt: (host) => blocks.find((block) => view.getUint32(block + BLOCK.physical, true) === host) ?? 0,
    }
  }

  /** The region at an address of decoded code, by what was seen of the way that it takes. */
  discover(entry: number, limit = 100, seen: Omit<DiscoverOptions, 'entry' | 'limit'> = {}): Region | Refusal {
    return this.makers.find(this.source, { entry, limit, ...seen })
  }

  /** Writes a region's function. */
  compile(region: Region): RegionFunction {
    const module = new ModuleWriter()
    module.importMemory('env', 'memory')
    const imported = new Map(Object.entries(this.makers.translator.imports).map(
      ([name, { parameters, results }]) => [name, module.importFunction('env', name, parameters, results)]))
    module.export('run', this.makers.translator.write(module, region, { imported, pushValid: (code) => code.i32(1) }))
    const env = { memory: this.inside.engine.memory.memory, ...this.makers.functions }
    return new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env }).exports['run'] as RegionFunction
  }

  /** Enters a region as the interpreter does, which has paid for the block; what it answered and how much it executed. */
  enter(region: Region, run: RegionFunction, budget: number): { status: number; executed: number; cause: string } {
    const { view, base } = this.inside.core.registers
    const page = this.rip - (this.rip % 4096)
    State.page.setParts(view, base, page >>> 0, 0)
    State.budget.set(view, base, budget - region.entryCount)
    const status = run(base, 0)
    const left = State.budget.get(view, base) + (status === STATUS.NEXT ? region.entryCount : 0)
    return { status, executed: budget - left, cause: EXIT_CAUSES[State.exitCause.get(view, base)]! }
  }

  /** Bytes of a page from an address on. */
  private page(address: number, count: number): Buffer {
    return Buffer.from(this.machine.memory.bytes.subarray(this.host(address), this.host(address) + count))
  }

  /** Everything that a guest sees, as one text. */
  picture(): string {
    const { registers } = this.cpu
    let text = `rip ${this.rip.toString(16)} flags ${registers.flags().toString(16)}`
    for (let i = 0; i < 16; i += 1) text += `\n${GPR_NAMES[i]} ${registers.high(i).toString(16)}:${registers.low(i).toString(16)}`
    const { base } = this.inside.core.registers
    const vectors = Buffer.from(this.machine.memory.bytes.subarray(base + State.xmm.offset, base + State.xmm.offset + 256))
    return [text, vectors.toString('hex'), this.page(DATA, 256).toString('hex'), this.page(STACK, 2048).toString('hex')].join('\n')
  }

  /** Clears registers and memory, for a run from the start. */
  clear(): void {
    const { bytes } = this.machine.memory
    for (let i = 0; i < 16; i += 1) this.cpu.registers.set(i, 0, 0)
    this.set('rsp', STACK_END - 256)
    this.cpu.registers.setFlags(2)
    const vectors = this.inside.core.registers.base + State.xmm.offset
    bytes.fill(0, vectors, vectors + 256)
    for (let at = DATA; at < DATA + 8 * 4096; at += 4096) bytes.fill(0, this.host(at), this.host(at) + 4096)
    bytes.fill(0, this.host(STACK), this.host(STACK) + 2048)
    this.jump(CODE)
  }
}

/** The part of the stack that listings use. */
const STACK = STACK_END - 2048
const GPR_NAMES = Object.keys(GPR)

/** How a listing is run. */
export interface CompareOptions {
  /** Where the region begins, from the listing's start. */
  readonly entry?: number
  /** Budgets of the entries into the region, one run each. */
  readonly budgets?: readonly number[]
  readonly limit?: number
  /** What was seen of the way that the listing takes. */
  readonly seen?: Omit<DiscoverOptions, 'entry' | 'limit'>
  /** Instructions to compare. */
  readonly total?: number
}

/** What happened on the way. */
export interface Comparison {
  readonly region: Region
  /** Most instructions that one run executed inside. */
  readonly inside: number
  readonly causes: ReadonlySet<string>
}

/** A listing, decoded by running it up to its end. */
export function decoded(listing: string): RegionBench {
  const bench = new RegionBench(assemble(listing, { origin: CODE }))
  bench.cpu.run(10_000)
  return bench
}

/**
 * Runs a listing in the region at its entry wherever it comes there, one instruction at a time elsewhere, and compares
 * everything that a guest sees with the interpreter after every step.
 */
export function compare(listing: string, options: CompareOptions = {}): Comparison {
  const { budgets = [1000], total = 2000 } = options
  const entry = CODE + (options.entry ?? 0)
  const code = assemble(listing, { origin: CODE })
  const [one, other] = [new RegionBench(code), new RegionBench(code)]
  one.cpu.run(10_000)
  const region = one.discover(entry, options.limit, options.seen)
  if (typeof region === 'string') throw new Error(`no region: ${region}`)
  const run = one.compile(region)
  const causes = new Set<string>()
  let inside = 0
  for (const budget of budgets) {
    one.clear()
    other.clear()
    const enter = (left: number): number => {
      const exit = one.enter(region, run, Math.min(budget, left))
      causes.add(exit.cause)
      return exit.executed
    }
    inside = Math.max(inside, compareRun(one, other, { entry, enter, total }))
  }
  return { region, inside, causes }
}

/** Compares one run; the instructions executed inside of the region. */
function compareRun(
  one: RegionBench, other: RegionBench, options: { entry: number; enter: (left: number) => number; total: number },
): number {
  let inside = 0
  for (let done = 0; done < options.total;) {
    let executed = one.rip === options.entry ? options.enter(options.total - done) : 0
    inside += executed
    const reason = executed === 0 ? one.cpu.run(1) : EXIT.BUDGET
    if (executed === 0) executed = one.cpu.executed
    const expected = other.cpu.run(Math.max(executed, 1))
    if (reason !== expected || one.picture() !== other.picture()) {
      expect(`exit ${reason} after ${done + executed}\n${one.picture()}`).toBe(`exit ${expected} after ${done + executed}\n${other.picture()}`)
    }
    if (reason !== EXIT.BUDGET) break
    done += executed
  }
  return inside
}
