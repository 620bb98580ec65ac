import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../../src/machine/index.ts'
import { instructionRows } from '../../../../../src/machine/cpu/decode/table.ts'
import type { InstructionRow } from '../../../../../src/machine/cpu/decode/table.ts'
import { DEFAULT_LEVEL, PROCESSOR_LEVELS, offeredFeatures } from '../../../../../src/machine/cpu/cpuid/features.ts'
import { CPU_FEATURES, CR4, GPR, VECTOR, XCR0, hasSubleaves } from '../../../../../src/x86/index.ts'
import type { ProcessorLevel } from '../../../../../src/machine/cpu/cpuid/features.ts'
import type { CpuFeature } from '../../../../../src/x86/index.ts'
import { SeededRandom } from '../../../../../src/util/index.ts'
import { AT, BareBench } from '../../../../support/bare.ts'
import { CODE, CpuBench, DATA } from '../../../../support/cpu.ts'
import { buildNative } from '../../../../support/native-build.ts'

/** A processor to which everything is allowed that a host or kernel has to allow. */
function allowing(level: ProcessorLevel): CpuBench {
  const made = new CpuBench({ level })
  const { registers } = made.cpu
  registers.setControl(4, (registers.controlLow(4) | CR4.FSGSBASE) >>> 0, 0)
  if (level === 'x86-64-v3') registers.setXcr0(XCR0.X87 | XCR0.SSE | XCR0.AVX)
  return made
}
const benches = { 'x86-64-v2': allowing('x86-64-v2'), 'x86-64-v3': allowing('x86-64-v3') }
const bench = benches[DEFAULT_LEVEL]

/** What the processor's own CPUID says of a feature. */
const offersAt = (level: ProcessorLevel) => (feature: CpuFeature): boolean => {
  const { leaf, subleaf, register, bit } = CPU_FEATURES[feature]
  return ((benches[level].cpu.cpuid(leaf, subleaf)[register] >>> bit) & 1) === 1
}

/** A VEX prefix of three bytes, with register 1 in VEX.vvvv. */
function vexOf({ map, vex, prefix }: InstructionRow): number[] {
  const second = vex!.usesSecond ? 1 : 0
  const last = ((vex!.wide ?? 0) << 7) | ((~second & 15) << 3) | ((vex!.length ?? 0) << 2) | { np: 0, 66: 1, f3: 2, f2: 3 }[prefix!]
  return [0xc4, 0xe0 | { vex0f: 1, vex0f38: 2, vex0f3a: 3 }[map as 'vex0f'], last]
}

/** Shortest encoding of a row: registers 0, or memory at rsi; immediates 0. */
function encodingOf(row: InstructionRow, memory: boolean): number[] {
  const prefix = row.vex !== undefined ? [] : { np: [], 66: [0x66], f3: [0xf3], f2: [0xf2] }[row.prefix ?? 'np']
  const escape = row.vex !== undefined ? vexOf(row) : { '': [], '0f': [0x0f], '0f38': [0x0f, 0x38], '0f3a': [0x0f, 0x3a] }[row.map as '0f']
  const gathers = row.vex?.indices !== undefined
  // Of a gather all three registers have to differ: the index is 2.
  const modrm = row.exact ?? ((row.reg ?? 0) << 3 | (gathers ? 4 : memory ? 6 : 0xc0))
  return [...prefix, ...escape, row.opcode, ...(row.modrm ? [modrm] : []), ...(gathers ? [0x16] : []), ...Array.from({ length: 10 }, () => 0)]
}

/** Exception that the first instruction of the code raises, or -1. */
function exceptionOf(b: CpuBench, bytes: readonly number[]): number {
  b.write(CODE, bytes)
  b.jump(CODE)
  b.set('rsi', DATA)
  b.set('rsp', 0x7f_e000)
  return b.cpu.run(1) === EXIT.EXCEPTION ? b.cpu.exit.vector : -1
}

const isMemory = (row: InstructionRow): boolean => row.mod === 'm' || row.operands.some((code) => code.startsWith('M'))
/** Rows of a level, without those whose bytes mean something else where their feature is not offered. */
const rowsOf = (level: ProcessorLevel): InstructionRow[] =>
  instructionRows(level).filter(({ mode, legacy, offered }) => mode !== 'i64' && (offered || !legacy))
/** Raise #UD on every processor, or on this one outside system management. */
const ALWAYS_UNDEFINED = new Set(['ud0', 'ud1', 'ud2', 'rsm', 'sysenter', 'sysexit'])

describe.each(PROCESSOR_LEVELS)('CPUID and the instructions of %s agree', (level) => {
  const offers = offersAt(level)
  const own = rowsOf(level)
  const raised = (row: InstructionRow): number => exceptionOf(benches[level], encodingOf(row, isMemory(row)))
  // What the kernel has switched on is told as well.
  const told: CpuFeature[] = level === 'x86-64-v3' ? ['osxsave'] : []

  test.each(offeredFeatures(level))('%s is told where the manual says', (feature) => expect(offers(feature)).toBe(true))

  test('no feature is told that the list does not hold', () => {
    const found = (Object.keys(CPU_FEATURES) as CpuFeature[]).filter((feature) => offers(feature))
    expect(found.sort()).toEqual([...offeredFeatures(level), ...told].sort())
  })

  test('every row of the table that needs an offered feature, or none, executes', () => {
    const undefinedRows = own.filter((row) => row.feature === undefined || offers(row.feature))
      .filter(({ name }) => !ALWAYS_UNDEFINED.has(name))
      .filter((row) => raised(row) === VECTOR.UD)
    expect(undefinedRows.map(({ name, operands }) => `${name} ${operands.join()}`)).toEqual([])
  })

  test('every row that needs a feature which is not offered raises #UD', () => {
    const absent = own.filter(({ feature }) => feature !== undefined && !offers(feature))
    expect(absent.length).toBeGreaterThan(level === 'x86-64-v3' ? 70 : 400)
    const executed = absent.filter((row) => raised(row) !== VECTOR.UD)
    expect(executed.map(({ name, operands }) => `${name} ${operands.join()}`)).toEqual([])
  })

  test.each([
    ['vaddps zmm0, zmm0, zmm0', '62f17c4858c0'], ['vpcmov', '8fe878a2c000'], ['pavgusb mm0, mm0', '0f0fc0bf'],
    ['vaesenc xmm0, xmm0, xmm0', 'c4e279dcc0'],
  ])('%s, whose encoding is not in the table, raises #UD', (_, code) => {
    expect(exceptionOf(benches[level], code.match(/../g)!.map((pair) => parseInt(pair, 16)))).toBe(VECTOR.UD)
  })

  test('a package shows its cores, each by its own identifier', () => {
    const b = new CpuBench({ topology: { index: 2, count: 4 } })
    const [, ebx, , edx] = b.cpu.cpuid(1, 0)
    expect([ebx >>> 24, (ebx >>> 16) & 0xff, (edx >>> 28) & 1]).toEqual([2, 4, 1])
    expect(b.cpu.cpuid(0x8000_0008, 0)[2] & 0xff).toBe(3)
    expect(bench.cpu.cpuid(0x8000_0008, 0)[2] & 0xff).toBe(0)
  })
})

describe('ECX chooses a subleaf only where a leaf has subleaves', () => {
  const random = new SeededRandom(0x1c)
  const leaves = [
    ...Array.from({ length: 0x30 }, (_, index) => index), ...Array.from({ length: 0x30 }, (_, index) => 0x8000_0000 + index),
    0x4000_0000, 0xc000_0000, 0xffff_ffff, ...Array.from({ length: 16 }, () => random.next()),
  ]

  test('a bare processor\'s CPUID answers every other leaf alike, whatever ECX holds', () => {
    const { cpu } = bench
    for (const leaf of leaves.filter((leaf) => !hasSubleaves(leaf))) {
      for (const ecx of [1, 2, 0xff, 0x8000_0000, 0xffff_ffff, random.next(), random.next()]) {
        expect([leaf, ecx, cpu.cpuid(leaf, ecx)]).toEqual([leaf, ecx, cpu.cpuid(leaf, 0)])
      }
    }
  })

  test('subleaves beyond the highest, leaves beyond the highest and between the ranges are zero', () => {
    for (const [leaf, subleaf] of [[7, 1], [7, 0xffff_ffff], [0xb, 0], [0xd, 3], [0xe, 0], [0x8000_0009, 0], [0x8000_0021, 0], [0x1000_0000, 0]]) {
      expect([leaf, bench.cpu.cpuid(leaf!, subleaf!)]).toEqual([leaf, [0, 0, 0, 0]])
    }
    expect([bench.cpu.cpuid(0, 0)[0], bench.cpu.cpuid(0x8000_0000, 0)[0]]).toEqual([0xd, 0x8000_0008])
  })

  test('the state of AVX is told with its place and size, and what XCR0 has switched on', () => {
    const { cpu } = new CpuBench({ level: 'x86-64-v3' })
    const sizes = (): readonly (readonly number[])[] => [0, 1, 2].map((subleaf) => cpu.cpuid(0xd, subleaf))
    expect(sizes()).toEqual([[7, 576, 832, 0], [7, 576, 0, 0], [256, 576, 0, 0]])
    cpu.registers.setXcr0(XCR0.X87 | XCR0.SSE | XCR0.AVX)
    expect(sizes()).toEqual([[7, 832, 832, 0], [7, 832, 0, 0], [256, 576, 0, 0]])
    expect(new CpuBench({ level: 'x86-64-v2' }).cpu.cpuid(0xd, 0)).toEqual([0, 0, 0, 0])
  })

  test('caches of a size that programs can divide by are told in AMD\'s leaves', () => {
    const [, , data, instructions] = bench.cpu.cpuid(0x8000_0005, 7)
    const [, , second, third] = bench.cpu.cpuid(0x8000_0006, 7)
    expect([data >>> 24, instructions >>> 24, second >>> 16, (third >>> 18) * 512]).toEqual([32, 32, 512, 16_384])
    for (const word of [data, instructions, second, third]) expect(word & 0xff).toBe(64)
  })

  test('the instruction asks with all 32 bits of both registers and clears the upper halves of four', () => {
    const bare = new BareBench()
    const { registers } = bare.cpu
    registers.set(GPR.rax, 1, 0xffff_ffff)
    registers.set(GPR.rbx, 0xffff_ffff, 0xffff_ffff)
    registers.set(GPR.rcx, 0x9abc_def0, 0x1234_5678)
    bare.write(AT.CODE, [0x0f, 0xa2, 0xf4])
    bare.cpu.run(2)
    const answer = (['rax', 'rbx', 'rcx', 'rdx'] as const).map((name) => bare.get(name))
    expect(answer[0]).not.toBe(0)
    expect(answer).toEqual(bare.cpu.cpuid(1, 0))
  })
})

const probe = buildNative(fileURLToPath(new URL('../../../../oracle/native/cpuid-subleaves.c', import.meta.url)), ['-O1'])
describe.skipIf(probe.path === undefined)(`the processor underneath${probe.reason === undefined ? '' : ` SKIPPED: ${probe.reason}`}`, () => {
  test('varies with ECX in leaves only that are said to have subleaves', () => {
    const varying = execFileSync(probe.path!, { encoding: 'utf8' }).split('\n').filter((line) => line !== '').map(Number)
    expect(varying.length).toBeGreaterThan(0)
    expect(varying.filter((leaf) => !hasSubleaves(leaf))).toEqual([])
  })
})

describe('random numbers', () => {
  const READ = 'rdrand %rax; rdseed %ecx; rdseed %dx; syscall'
  const read = (b: CpuBench): bigint[] => {
    b.set('rdx', 0x1111_2222_3333_4444n)
    expect(b.run(READ)).toBe(EXIT.SYSCALL)
    return [b.get('rax'), b.get('rcx'), b.get('rdx')]
  }

  test('RDRAND and RDSEED fill their register by its size and set CF alone', () => {
    const source = new SeededRandom(7)
    const [a, b, c] = Array.from({ length: 3 }, () => [source.next(), source.next()] as const)
    const bench7 = new CpuBench({ random: new SeededRandom(7) })
    expect(read(bench7)).toEqual([
      (BigInt(a![1]) << 32n) | BigInt(a![0]), BigInt(b![0]), 0x1111_2222_3333_0000n | BigInt(c![0] & 0xffff),
    ])
    expect(bench7.cpu.registers.flags() & 0x8d5).toBe(1)
  })

  test('two processors of the same seed read the same, another seed reads something else', () => {
    expect(read(new CpuBench())).toEqual(read(new CpuBench()))
    expect(read(new CpuBench({ random: new SeededRandom(1) }))).not.toEqual(read(new CpuBench()))
  })

  test('a restored processor reads what the saved one would have', () => {
    const first = new CpuBench()
    read(first)
    const state = first.cpu.save()
    const second = new CpuBench()
    second.cpu.load({ ...second.cpu.save(), random: state.random! })
    expect(read(second)).toEqual(read(first))
  })

  test.each([['repz rdrand %eax'], ['repnz rdrand %eax'], ['lock rdrand %eax']])('%s raises #UD', (code) => {
    expect(bench.run(code)).toBe(EXIT.EXCEPTION)
    expect(bench.cpu.exit.vector).toBe(VECTOR.UD)
  })
})
