/**
 * The life of regions, whatever is in them: here their function is written by hand for one small loop, so that what is
 * proven does not depend on what can be compiled.
 */
import { describe, expect, test } from 'vitest'
import { EXIT, Machine } from '../../../../../../src/machine/index.ts'
import type { MachineOptions, ProcessorOptions } from '../../../../../../src/machine/index.ts'
import { MachineProcessor } from '../../../../../../src/machine/cpu/index.ts'
import { State, STATUS } from '../../../../../../src/machine/cpu/layout/state.ts'
import { Engine } from '../../../../../../src/machine/cpu/processor/engine.ts'
import { DEFAULT_LEVEL } from '../../../../../../src/machine/cpu/cpuid/features.ts'
import { COMPILER_DEFAULTS } from '../../../../../../src/machine/cpu/region/life/defaults.ts'
import type { CompilerSettings } from '../../../../../../src/machine/cpu/region/life/defaults.ts'
import { exitCause } from '../../../../../../src/machine/cpu/region/form/exit-causes.ts'
import type { MakerParts, RegionMakers } from '../../../../../../src/machine/cpu/region/life/makers.ts'
import type { Refusal, Region, RegionBlock } from '../../../../../../src/machine/cpu/region/form/region.ts'
import { DEFAULT_PROCESSORS, PROCESSOR_BYTES } from '../../../../../../src/machine/memory/layout.ts'
import { MachineMemory } from '../../../../../../src/machine/memory/machine-memory.ts'
import type { Code } from '../../../../../../src/wasm/index.ts'
import { GPR, PTE } from '../../../../../../src/x86/index.ts'
import { assemble } from '../../../../../support/assembler.ts'
import { CODE, CpuBench, DATA, hexBytes } from '../../../../../support/cpu.ts'

/** rax sums what rcx counts down, no flags, no end: lea (%rax,%rcx),%rax; lea -1(%rcx),%rcx; jmp to the first. */
const LOOP = hexBytes('488d0408 488d49ff ebf6')
const COUNT = 3
/** A page that a region may claim to have code in. */
const OTHER = CODE + 4096

/** Writes the loop as a function, as the rules of regions want it. */
function writeLoop(c: Code, pushValid: (code: Code) => void): void {
  const budget = c.local('i32')
  const leave = (cause: 'budget' | 'mapping'): void => {
    for (const [offset, push] of [
      [State.exitRecord.offset, () => c.get(1)], [State.exitCause.offset, () => c.i32(exitCause(cause))],
    ] as const) {
      c.get(0)
      push()
      c.memory('i32.store', offset)
    }
    c.i32(STATUS.NEXT)
    c.op('return')
  }
  const add = (register: number, push: () => void): void => {
    c.get(0)
    c.get(0)
    c.memory('i64.load', register * 8)
    push()
    c.op('i64.add')
    c.memory('i64.store', register * 8)
  }
  pushValid(c)
  c.op('i32.eqz')
  c.if()
  leave('mapping')
  c.end()
  c.get(0)
  c.memory('i32.load', State.budget.offset)
  c.i32(COUNT)
  c.op('i32.add')
  c.set(budget)
  const again = c.loop()
  c.get(budget)
  c.i32(2 * COUNT)
  c.op('i32.lt_s')
  c.if()
  c.get(0)
  c.get(budget)
  c.i32(COUNT)
  c.op('i32.sub')
  c.memory('i32.store', State.budget.offset)
  leave('budget')
  c.end()
  add(GPR.rax, () => {
    c.get(0)
    c.memory('i64.load', GPR.rcx * 8)
  })
  add(GPR.rcx, () => c.i64(-1))
  c.get(budget)
  c.i32(COUNT)
  c.op('i32.sub')
  c.set(budget)
  c.br(again)
  c.end()
  c.op('unreachable')
}

/** Makers that know the loop wherever it is decoded; a region may claim further pages. */
const makers = (others: readonly number[]) => ({ memory }: MakerParts): RegionMakers => ({
  find: (source, { entry }): Region | Refusal => {
    const page = entry - (entry % 4096)
    const pages = [page, ...others].map((linear) => ({ linear, host: source.hostOf(linear) }))
    const host = pages[0]!.host + (entry % 4096)
    if (pages.some((one) => one.host === 0) || source.blockAt(host) === 0) return 'not-decoded'
    if (LOOP.some((byte, index) => memory.bytes[host + index] !== byte)) return 'first-instruction'
    const loop: RegionBlock = { rip: entry, instructions: [], end: 'branch', target: entry, next: entry + LOOP.length, needsFlags: false }
    return { entry, mode: source.mode, entryCount: COUNT, blocks: [loop], instructions: COUNT, bytes: LOOP.length, pages }
  },
  translator: {
    imports: {},
    write: (module, _, { pushValid }) => {
      const { index, code } = module.function(['i32', 'i32'], ['i32'])
      writeLoop(code, pushValid)
      return index
    },
  },
  functions: {},
})

const SETTINGS: CompilerSettings = { ...COMPILER_DEFAULTS, samples: 2, slice: 100, batch: 1 }

interface Scene {
  readonly bench: CpuBench
  readonly engine: Engine
  /** Compiles at the processor's rip. */
  compileAt(): string
  figures(): NonNullable<ReturnType<NonNullable<Engine['compiler']>['figures']>>
}

/** A bench whose machine compiles the loop. */
function scene(settings: Partial<CompilerSettings> = {}, others: readonly number[] = []): Scene {
  const memory = new MachineMemory(16 << 20, DEFAULT_PROCESSORS)
  const engine = new Engine(memory, DEFAULT_LEVEL, { settings: { ...SETTINGS, ...settings }, makers: makers(others) })
  let base = memory.layout.processors
  /** A machine around that engine. */
  class OurMachine {
    readonly memory = memory

    createProcessor(options: ProcessorOptions): MachineProcessor {
      base += PROCESSOR_BYTES
      return new MachineProcessor(engine, base - PROCESSOR_BYTES, { ...options, release: () => {} })
    }
  }
  const bench = new CpuBench({ library: { Machine: OurMachine as unknown as typeof Machine } })
  bench.set('rcx', 1000)
  const compiler = engine.compiler!
  return { bench, engine, figures: () => compiler.figures(), compileAt: () => engine.compileAt(memory.layout.processors) }
}

/** Registers behind `count` instructions of the loop. */
function expected(count: number): [bigint, bigint, number] {
  const rounds = Math.floor(count / COUNT)
  const [half, offset] = [count % COUNT, [0, 4, 8][count % COUNT]!]
  let rax = 0n
  let rcx = 1000n
  for (let i = 0; i < rounds; i += 1) {
    rax += rcx
    rcx -= 1n
  }
  if (half >= 1) rax += rcx
  if (half >= 2) rcx -= 1n
  return [BigInt.asUintN(64, rax), BigInt.asUintN(64, rcx), CODE + offset]
}

const found = ({ bench }: Scene): [bigint, bigint, number] => [bench.get('rax'), bench.get('rcx'), bench.cpu.registers.rip()]

/** Runs on by so many instructions and expects to be where the program is then. */
function goOn(one: Scene, count: number, total: number): void {
  expect(one.bench.cpu.run(count)).toBe(EXIT.BUDGET)
  expect(one.bench.cpu.executed).toBe(count)
  expect(found(one)).toEqual(expected(total))
}

function begin(one: Scene): void {
  one.bench.write(CODE, LOOP)
  one.bench.jump(CODE)
}

const ACCESSED = 0x20

/** Does as if the guest had been in a page. */
function setAccessed(bench: CpuBench, address: number): void {
  const { view } = bench.machine.memory
  const at = bench.entry(address)
  view.setUint32(at, view.getUint32(at, true) | ACCESSED, true)
}

/** A scene whose loop has become a region: after 1,000 instructions. */
function compiled(settings: Partial<CompilerSettings> = {}, others: readonly number[] = []): Scene {
  const one = scene(settings, others)
  // Nothing is made of pages that the guest has not executed yet.
  for (const other of others) setAccessed(one.bench, other)
  begin(one)
  goOn(one, 1000, 1000)
  expect(one.figures()).toMatchObject({ regions: 1, made: 1 })
  return one
}

/** Instructions from one total to another, and whether a region was visited on the way. */
function visits(one: Scene, count: number, total: number): boolean {
  const before = one.figures().visits
  goOn(one, count, total)
  return one.figures().visits > before
}

describe('a hot loop', () => {
  test('is sampled, compiled, and goes on in its region', () => {
    const one = compiled()
    expect(visits(one, 500, 1500)).toBe(true)
    const { samples, samplesInRegions, modules, instructions } = one.figures()
    expect([samples > 10, samplesInRegions > 10, modules, instructions]).toEqual([true, true, 1, COUNT])
    expect(one.bench.cpu.inspectCode().faults).toEqual([])
    expect(one.bench.cpu.inspect().faults).toEqual([])
  })

  test('executes as many instructions as it is given, in pieces of any size', () => {
    const one = compiled()
    let total = 1000
    for (const piece of [1, 2, 3, 4, 5, 6, 7, 8, 9, 29, 100, 101]) {
      for (let i = 0; i < 12; i += 1) {
        total += piece
        goOn(one, piece, total)
      }
    }
  })

  test('is sampled over runs that are shorter than a slice', () => {
    const one = scene()
    begin(one)
    for (let total = 7; total < 1000; total += 7) goOn(one, 7, total)
    expect(one.figures()).toMatchObject({ regions: 1 })
  })

  test('is not compiled before it has been sampled often enough', () => {
    const one = scene({ samples: 100 })
    begin(one)
    goOn(one, 5000, 5000)
    expect(one.figures()).toMatchObject({ regions: 0, samples: 50 })
  })

  test('is compiled on the spot for who asks for it', () => {
    const one = scene({ samples: 1e9 })
    begin(one)
    goOn(one, 300, 300)
    expect(one.figures().regions).toBe(0)
    expect(one.compileAt()).toBe('installed')
    expect(visits(one, 500, 800)).toBe(true)
    one.bench.jump(DATA)
    expect(one.compileAt()).toBe('not-decoded')
  })
})

describe('a few instructions without a loop', () => {
  test('are not compiled, and the next sample is taken elsewhere although slices end at the same place', () => {
    const bench = new CpuBench({ library: { Machine: class extends Machine {
      constructor(options: MachineOptions) {
        super({ ...options, compiler: { slice: 100, samples: 1, batch: 1 } })
      }
    } } })
    // nop; nop; jmp behind itself; fninit, which no region carries out; jmp to the first: a slice is 20 rounds.
    bench.write(CODE, hexBytes('9090 eb00 dbe3 ebf8'))
    bench.jump(CODE)
    bench.cpu.run(1000)
    expect(bench.machine.compilerFigures()).toMatchObject({ regions: 0, made: 0, refused: { small: 1, 'first-instruction': 1 } })
  })
})

describe('slices', () => {
  test('end, and begin anew, while an interrupt waits that is masked', () => {
    const memory = { memoryBytes: 1 << 20, compiler: { slice: 7, samples: 1 } }
    const machine = new Machine(memory)
    const cpu = machine.createProcessor({ mode: 'bare' })
    const { registers } = cpu
    const { words, bytes, firstFrame } = machine.memory
    // Four levels that map the first pages one to one, and the loop at 0x1000.
    for (const level of [8, 9, 10]) words[(firstFrame + level) << 10] = ((level + 1) << 12) | PTE.PRESENT | PTE.WRITABLE
    for (let page = 0; page < 8; page += 1) words[((firstFrame + 11) << 10) + page * 2] = (page << 12) | PTE.PRESENT | PTE.WRITABLE
    bytes.set(LOOP, (firstFrame + 1) * 4096)
    registers.setControl(3, 8 * 4096, 0)
    registers.setRip(0x1000, 0)
    registers.set(GPR.rcx, 1000, 0)
    cpu.interrupt(0x41)
    expect([cpu.run(300), cpu.executed]).toEqual([EXIT.BUDGET, 300])
    expect(registers.low(GPR.rcx)).toBe(900)
  })
})

describe('a region goes', () => {
  /** Runs what is at CODE now up to SYSCALL and gives rax. */
  const result = ({ bench }: Scene): bigint => {
    bench.jump(CODE)
    expect(bench.cpu.run(1000)).toBe(EXIT.SYSCALL)
    return bench.get('rax')
  }

  test('when the host writes its code', () => {
    const one = compiled()
    one.bench.write(CODE, assemble('mov $7,%eax; syscall'))
    expect(one.figures()).toMatchObject({ regions: 0, modules: 0, dropped: 1 })
    expect(result(one)).toBe(7n)
  })

  test('when another page that it has code in is written', () => {
    const one = compiled({}, [OTHER])
    // Writes to what is no code cost nothing.
    one.bench.write(OTHER, [1, 2, 3])
    expect(one.figures()).toMatchObject({ regions: 1 })
    one.bench.write(OTHER, assemble('1: jmp 1b'))
    one.bench.jump(OTHER)
    one.bench.cpu.run(3)
    one.bench.write(OTHER, [0x90])
    expect(one.figures()).toMatchObject({ regions: 0, dropped: 1 })
    one.bench.jump(expected(1000)[2])
    goOn(one, 500, 1500)
    expect(one.bench.cpu.inspectCode().faults).toEqual([])
  })

  test('when the guest writes its code, itself or by another mapping', () => {
    const one = compiled()
    const frame = one.bench.host(CODE) >>> 12
    one.bench.map(DATA + 0x10_0000, PTE.PRESENT | PTE.WRITABLE | PTE.USER, frame)
    one.bench.write(OTHER, assemble('movb $0xc3,(%rdi); xor %eax,%eax; call *%rdi; mov $9,%eax; syscall'))
    one.bench.set('rdi', DATA + 0x10_0000)
    one.bench.jump(OTHER)
    expect(one.bench.cpu.run(1000)).toBe(EXIT.SYSCALL)
    expect([one.bench.get('rax'), one.figures().regions]).toEqual([9n, 0])
  })

  test('when all decoded code is forgotten, and comes again', () => {
    const one = compiled()
    one.engine.code.clear()
    expect(one.figures()).toMatchObject({ regions: 0, modules: 0, frontBytes: 0 })
    goOn(one, 1000, 2000)
    expect(one.figures()).toMatchObject({ regions: 1, made: 2 })
  })

  test('when chance wants it', () => {
    const one = scene({ drop: { seed: 3, oneIn: 2 } })
    begin(one)
    goOn(one, 5000, 5000)
    const { made, dropped } = one.figures()
    expect([made > 5, dropped > 5]).toEqual([true, true])
    expect(one.bench.cpu.inspectCode().faults).toEqual([])
  })

  test('for want of room, that which was sampled longest ago first', () => {
    const one = compiled({ modules: 2 })
    for (const at of [CODE + 0x1000, CODE + 0x2000]) {
      one.bench.write(at, LOOP)
      one.bench.jump(at)
      one.bench.cpu.run(1000)
    }
    expect(one.figures()).toMatchObject({ regions: 2, modules: 2, made: 3, dropped: 1 })
    const { visits } = one.figures()
    one.bench.jump(CODE)
    one.bench.cpu.run(100)
    expect(one.figures().visits).toBe(visits)
    one.bench.jump(CODE + 0x2000)
    one.bench.cpu.run(100)
    expect(one.figures().visits).toBeGreaterThan(visits)
  })

  test('with all others when there is no room for a front, and is made again', () => {
    const one = compiled()
    const { fronts } = one.engine.code
    while (fronts.take(16) !== 0) { /* as many as there is room for */ }
    one.bench.write(CODE + 0x1000, LOOP)
    one.bench.jump(CODE + 0x1000)
    one.bench.cpu.run(1000)
    expect(one.figures()).toMatchObject({ regions: 1, made: 2, dropped: 1 })
    expect(one.bench.cpu.inspectCode().faults).toEqual([])
    one.bench.jump(CODE)
    one.bench.cpu.run(1000)
    expect(one.figures()).toMatchObject({ regions: 2, made: 3 })
    expect(one.bench.cpu.inspectCode().faults).toEqual([])
    expect(one.bench.cpu.inspect().faults).toEqual([])
  })
})

describe('code that is written again and again', () => {
  test('is compiled less and less often', () => {
    const one = scene()
    for (let i = 0; i < 40; i += 1) {
      begin(one)
      one.bench.cpu.run(1000)
    }
    const { made } = one.figures()
    expect(made).toBeGreaterThan(2)
    expect(made).toBeLessThan(6)
  })
})

describe('a region with code in several pages', () => {
  /** Sets bits of the entry that maps the other page, and has translations forgotten. */
  const remap = ({ bench }: Scene, change: (entry: number) => number): void => {
    const { view } = bench.machine.memory
    const at = bench.entry(OTHER)
    view.setUint32(at, change(view.getUint32(at, true)), true)
    bench.cpu.flushTlb()
  }

  test('is not made before the guest has executed there', () => {
    const one = scene({}, [OTHER])
    begin(one)
    goOn(one, 1000, 1000)
    expect(one.figures()).toMatchObject({ regions: 0, refused: { 'not-decoded': 1 } })
  })

  test('declines while one of them is mapped elsewhere or not at all', () => {
    const one = compiled({ samples: 6 }, [OTHER])
    let entry = 0
    remap(one, (old) => {
      entry = old
      return 0
    })
    const { samplesInRegions } = one.figures()
    goOn(one, 500, 1500)
    expect(one.figures().samplesInRegions).toBe(samplesInRegions)
    remap(one, () => entry)
    goOn(one, 500, 2000)
    expect(one.figures().samplesInRegions).toBeGreaterThan(samplesInRegions)
    expect(one.figures()).toMatchObject({ made: 1, dropped: 0 })
  })

  test('sets no accessed bit by its look', () => {
    const one = compiled({}, [OTHER])
    remap(one, (old) => old & ~ACCESSED)
    goOn(one, 500, 1500)
    expect(one.bench.machine.memory.view.getUint32(one.bench.entry(OTHER), true) & ACCESSED).toBe(0)
  })

  test('is made anew for the mapping that has come to be the usual one', () => {
    const one = compiled({ samples: 4 }, [OTHER])
    one.bench.map(OTHER)
    setAccessed(one.bench, OTHER)
    goOn(one, 2000, 3000)
    expect(one.figures()).toMatchObject({ regions: 1, made: 2, dropped: 1 })
    expect(visits(one, 500, 3500)).toBe(true)
  })

  test('looks again when generations of contexts begin anew', () => {
    const one = compiled({}, [OTHER])
    goOn(one, 500, 1500)
    const front = [...one.engine.code.fronts.all()][0]![0]
    const { view } = one.bench.machine.memory
    const known = (): number => view.getUint32(front + 16 + 12, true)
    expect(known()).not.toBe(0)
    one.engine.code.fronts.forgetContexts()
    expect(known()).toBe(0)
    goOn(one, 500, 2000)
    expect(known()).not.toBe(0)
    one.bench.machine.createProcessor({ mode: 'hosted' })
    expect(known()).toBe(0)
  })
})

describe('several processors', () => {
  test('share a region where their mappings agree, each with its own look', () => {
    const one = compiled({}, [OTHER])
    const { machine, root } = one.bench
    const other = machine.createProcessor({ mode: 'hosted' })
    other.registers.setControl(3, root * 4096, 0)
    other.registers.set(GPR.rcx, 1000, 0)
    other.registers.setRip(CODE, 0)
    const { visits: before } = one.figures()
    other.run(300)
    expect([other.registers.low(GPR.rax), other.registers.low(GPR.rcx)]).toEqual(expected(300).slice(0, 2).map(Number))
    expect(one.figures().visits).toBeGreaterThan(before)
    goOn(one, 500, 1500)
    other.run(300)
    expect(other.registers.low(GPR.rax)).toBe(Number(expected(600)[0]))
    expect(one.figures()).toMatchObject({ regions: 1, made: 1 })
  })

  test('do not where a page is another', () => {
    const one = compiled({ samples: 9 }, [OTHER])
    const { machine, root } = one.bench
    const { bytes, view } = machine.memory
    const other = machine.createProcessor({ mode: 'hosted' })
    // The same tables anew, but for the page.
    const copy = (table: number, level: number): number => {
      const made = one.bench.frame()
      bytes.copyWithin(made * 4096, table * 4096, (table + 1) * 4096)
      for (let at = made * 4096; level > 1 && at < (made + 1) * 4096; at += 8) {
        const entry = view.getUint32(at, true)
        if (entry !== 0) view.setUint32(at, copy(entry >>> 12, level - 1) * 4096 + (entry & 0xfff), true)
      }
      return made
    }
    const otherRoot = copy(root, 4)
    one.bench.map(OTHER)
    setAccessed(one.bench, OTHER)
    other.registers.setControl(3, otherRoot * 4096, 0)
    other.registers.set(GPR.rcx, 1000, 0)
    other.registers.setRip(CODE, 0)
    const { samplesInRegions: before } = one.figures()
    goOn(one, 500, 1500)
    expect(one.figures().samplesInRegions).toBe(before)
    other.run(500)
    expect(one.figures().samplesInRegions).toBeGreaterThan(before)
    expect(other.registers.low(GPR.rax)).toBe(Number(expected(500)[0]))
  })
})

describe('work', () => {
  /** Instructions and prices of a loop with a load in its midst, behind which lies much that is decoded but never executed. */
  const workOf = (compiler: 'off' | MachineOptions['compiler']): { work: number; made: number } => {
    class Ours extends Machine {
      constructor(options: MachineOptions) {
        super({ ...options, compiler: compiler! })
      }
    }
    const bench = new CpuBench({ library: { Machine: Ours }, accounting: 'work' })
    const nops = (count: number): string => '.byte 0x0f,0x1f,0x80,0,0,0,0;'.repeat(count)
    // Two pages with the same place in the TLB, so that each load misses.
    const [one, other] = [DATA, DATA + 1024 * 4096]
    bench.map(other)
    bench.write(CODE, assemble(`1: xor %rsi,%rdi; ${nops(20)} mov (%rdi),%rbx; ${nops(20)} dec %rcx; jne 1b; ${nops(60)} syscall`))
    bench.set('rdi', one)
    bench.set('rsi', one ^ other)
    bench.set('rcx', 1_000_000)
    bench.cpu.run(200_000)
    const rounds = 1_000_000 - Number(bench.get('rcx'))
    return { work: bench.cpu.executed - rounds * 44, made: bench.machine.compilerFigures()?.made ?? 0 }
  }

  test('is the same where regions are left in the midst of blocks', () => {
    const compiled = workOf({ samples: 1, slice: 200, batch: 1 })
    expect(compiled.made).toBeGreaterThan(0)
    expect(compiled.work).toBe(workOf('off').work)
  })
})
