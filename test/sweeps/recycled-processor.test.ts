/**
 * A processor that another has been before: everything that it is made of, in linear memory and in objects, equals that
 * of the first processor of a new machine. What outlives an owner is found whatever its name is.
 */
import { describe, expect, test } from 'vitest'
import { EXIT, Machine } from '../../src/machine/index.ts'
import type { Processor, ProcessorOptions } from '../../src/machine/index.ts'
import { Core } from '../../src/machine/cpu/core/core.ts'
import { SLOT, State } from '../../src/machine/cpu/layout/state.ts'
import { PROCESSOR_BYTES } from '../../src/machine/memory/layout.ts'
import { GPR, MSR, PTE, RFLAGS, SEGMENT, VECTOR } from '../../src/x86/index.ts'
import { assemble } from '../support/assembler.ts'
import { flatten } from '../support/flatten.ts'

const CODE = 0x40_0000
const DATA = 0x60_0000
const HOSTED: ProcessorOptions = { mode: 'hosted' }

/** A machine with room for one processor, so that each gets the area of the one before. */
const machine = (): Machine => new Machine({ memoryBytes: 1 << 20, processors: 1, cpu: 'x86-64-v3' })

/** Maps code and data at fixed addresses: frames 0 to 3 and 6 are tables, 4 is the code, 5 the data. */
function mapped(m: Machine, processor: Processor, code = 4): void {
  const { words, firstFrame: first } = m.memory
  const link = (table: number, slot: number, frame: number): void => {
    words[(first + table) * 1024 + slot * 2] = ((first + frame) << 12) | PTE.PRESENT | PTE.WRITABLE | PTE.USER
  }
  link(0, 0, 1)
  link(1, 0, 2)
  for (const [address, table, frame] of [[CODE, 3, code], [DATA, 6, 5]] as const) {
    link(2, address >> 21, table)
    link(table, (address >> 12) & 511, frame)
  }
  processor.registers.setControl(3, first * 4096, 0)
}

function write(m: Machine, hex: string): void {
  const at = (m.memory.firstFrame + 4) * 4096
  m.memory.bytes.set(assemble(hex), at)
  m.memory.markWritten(at >>> 12)
}

function run(m: Machine, processor: Processor, hex: string): number {
  write(m, hex)
  const { registers } = processor
  registers.setRip(CODE, 0)
  registers.set(GPR.rsp, DATA + 0x800, 0)
  registers.set(GPR.rdi, DATA, 0)
  return processor.run(1000)
}

const flat32 = (selector: number, attributes: number) => ({ selector, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes })

/** What an owner may do to a processor, so that something is left of it somewhere. */
const LIVES: readonly [what: string, life: (m: Machine, p: Processor) => void][] = [
  ['decoded and executed code', (m, p) => {
    // mov ecx,9; L: dec ecx; jnz L; syscall
    expect(run(m, p, 'mov $9,%ecx; 1: dec %ecx; jne 1b; syscall')).toBe(EXIT.SYSCALL)
  }],
  ['stopped in the middle of a block', (m, p) => {
    run(m, p, 'mov $9,%ecx; 1: dec %ecx; jne 1b; syscall')
    p.registers.setRip(CODE, 0)
    expect(p.run(2)).toBe(EXIT.BUDGET)
  }],
  ['left vectors, x87 and MXCSR', (m, p) => {
    // movdqu xmm0..: from code; fld1; fldpi; ldmxcsr [rsp]
    run(m, p, 'movups (%rdi),%xmm0; movups (%rdi),%xmm2; fld1; fldpi; push $0xbf80; ldmxcsr (%rsp); syscall')
    const image = new Uint8Array(512).map((_, i) => i & 0x1f)
    image.set([0x80, 0x1f, 0, 0], 24)
    p.loadFpu(image)
  }],
  ['left a fault, an interrupt shadow and flags', (m, p) => {
    // pushf-like flags: std; then a load from nowhere
    expect(run(m, p, 'std; mov 0x0,%rax')).toBe(EXIT.EXCEPTION)
    p.registers.setFlags(RFLAGS.TF | RFLAGS.AC | RFLAGS.IF | RFLAGS.DF | RFLAGS.CF)
    run(m, p, 'nop; nop; nop')
    expect(p.exit.vector).toBe(VECTOR.DB)
  }],
  ['had breakpoints on code and data', (m, p) => {
    p.registers.setDebug(0, DATA, 0)
    p.registers.setDebug(1, CODE + 3, 0)
    p.registers.setDebug(7, 0x000d_0005, 0)
    run(m, p, 'mov %rcx,(%rdi); nop; nop; syscall')
  }],
  ['ran 32-bit and 16-bit code in segments that are not flat', (m, p) => {
    p.registers.setSegment(SEGMENT.ds, { ...flat32(0x2b, 0xc0f3), baseLow: 0x1000, limit: 0xfff })
    p.registers.setSegment(SEGMENT.cs, flat32(0x23, 0xc0fb))
    run(m, p, 'mov $5,%eax; .byte 0x40,0xcd,0x80')
    p.registers.setSegment(SEGMENT.cs, { ...flat32(0x23, 0x80fb), limit: 0xffff })
  }],
  ['had other control registers, GS bases and XCR0 (by a saved state)', (_m, p) => {
    p.registers.setKernelGsBase(0x1234, 0x5678)
    p.registers.setSegment(SEGMENT.gs, { ...flat32(0, 0xf3), baseLow: 5, baseHigh: 6 })
    p.registers.setControl(2, 1, 2)
    p.registers.setControl(4, 0x620 | 4, 0)
    p.registers.setControl(0, (0x8005_003b | 8) >>> 0, 0)
    const state = p.save()
    p.load({ ...state, xcr0: 7, shadow: 'ss', debugTrap: 1, random: [1, 2, 3, 4] })
  }],
  ['was traced', (m, p) => {
    p.trace({ memory: () => {}, instruction: () => 'stop' })
    run(m, p, 'mov %rcx,(%rdi); syscall')
  }],
  ['read random numbers and time', (m, p) => {
    run(m, p, 'rdrand %rax; rdtsc; syscall')
  }],
  ['filled every translation and forgot them often', (m, p) => {
    for (let i = 0; i < 300; i += 1) p.flushPage(i * 4096)
    const { words, firstFrame } = m.memory
    for (let i = 0; i < 512; i += 1) words[(firstFrame + 6) * 1024 + i * 2] = ((firstFrame + 5) << 12) | 7
    // mov ecx,512; L: mov [rdi],ecx; add rdi,4096; dec ecx; jnz L; syscall
    run(m, p, 'mov $0x200,%ecx; 1: mov %ecx,(%rdi); add $0x1000,%rdi; dec %ecx; jne 1b; syscall')
  }],
  ['stored aside', (m, p) => {
    write(m, 'mov %rcx,(%rdi)')
    p.registers.setRip(CODE, 0)
    p.registers.set(GPR.rdi, DATA, 0)
    p.registers.set(GPR.rcx, 0x1234, 5)
    const entry = Uint32Array.of(0, 0)
    expect(p.storeAside(DATA, entry)).toBe(true)
    expect([...entry]).toEqual([0x1234, 5])
  }],
]

/** Objects of a core that belong to its machine, and a processor's way into them. */
const MACHINES = new Set(['physical', 'view', 'engine', 'active', 'running', 'interpreter', 'release', 'core'])

/** The whole processor: its area as hex by 64 bytes, and its objects. */
function whole(m: Machine, processor: Processor): Record<string, unknown> {
  const { core } = processor as unknown as { core: Core }
  const out: Record<string, unknown> = {}
  for (let at = 0; at < PROCESSOR_BYTES; at += 64) {
    out[`+${at}`] = Buffer.from(m.memory.bytes.subarray(core.registers.base + at, core.registers.base + at + 64)).toString('hex')
  }
  // What the first look at 32-bit code or vectors generates is the machine's; everything else is the processor's.
  return { ...out, base: core.registers.base, ...flatten(core, MACHINES), ...flatten(processor, MACHINES, 'processor') }
}

describe('a processor in the area of one that is gone equals the first of a new machine', () => {
  const pristine = (options: ProcessorOptions): Record<string, unknown> => {
    const m = machine()
    return whole(m, m.createProcessor(options))
  }
  test.each(LIVES)('that %s', (_, life) => {
    const m = machine()
    const first = m.createProcessor(HOSTED)
    mapped(m, first)
    life(m, first)
    first.destroy()
    expect(whole(m, m.createProcessor(HOSTED))).toEqual(pristine(HOSTED))
  })

  test('that was bare, with interrupts waiting and registers of its own', () => {
    const m = machine()
    const bare = m.createProcessor({ mode: 'bare' })
    bare.interrupt(33)
    bare.nmi()
    bare.system.setMsr(MSR.LSTAR, 1, 2)
    bare.system.idt = { baseLow: 5, baseHigh: 0, limit: 9 }
    run(m, bare, 'nop')
    bare.destroy()
    expect(whole(m, m.createProcessor(HOSTED))).toEqual(pristine(HOSTED))
  })

  test('executes its own code where the other had the same addresses', () => {
    const m = machine()
    const first = m.createProcessor(HOSTED)
    mapped(m, first)
    // mov ecx,9; L: inc eax; dec ecx; jnz L; mov eax,1; syscall: the jump cache learns the loop
    run(m, first, 'mov $9,%ecx; 1: inc %eax; dec %ecx; jne 1b; mov $1,%eax; syscall')
    first.destroy()
    const second = m.createProcessor(HOSTED)
    // Another frame behind the same address.
    mapped(m, second, 8)
    const { firstFrame } = m.memory
    m.memory.bytes.set(assemble('mov $9,%ecx; 1: inc %eax; dec %ecx; jne 1b; mov $2,%eax; syscall'), (firstFrame + 8) * 4096)
    m.memory.markWritten(firstFrame + 8)
    second.registers.setRip(CODE, 0)
    expect(second.run(1000)).toBe(EXIT.SYSCALL)
    expect(second.registers.low(GPR.rax)).toBe(2)
  })
})

describe('a saved state replaces all that there was in a processor', () => {
  /** What lives within one instruction or one run, and is written before it is read. */
  const PASSING = [
    [SLOT.t0, SLOT.page + 8], [State.flagResult.offset, 240], [State.host.offset, 4], [State.budget.offset, 8],
    [State.context.offset, 4], [State.logCount.offset, 8], [State.faultVector.offset, State.pendingSize.offset + 4 - State.faultVector.offset],
    [State.watchedAddress.offset, 8], [State.scratch.offset, 64],
    // Means nothing in 64-bit mode, and is worked out on the way out of it.
    [State.stackMask.offset, 4],
  ] as const
  const COUNTS = new Set([...MACHINES, 'generation', 'totalExecuted', 'lastExecuted', 'startBudget', 'keptBudget', 'request', 'saved', 'parts',
    'floats', 'descriptor', 'tracer', 'observer', 'shadowEnd', 'vector'])

  /** Registers and modes as generated code knows them, and as TypeScript does. */
  function lasting(m: Machine, processor: Processor): unknown[] {
    const { core } = processor as unknown as { core: Core }
    const area = m.memory.bytes.slice(core.registers.base, core.registers.base + State.size)
    for (const [from, bytes] of PASSING) area.fill(0, from, from + bytes)
    return [Buffer.from(area).toString('hex').match(/.{128}/g), flatten(core, COUNTS), processor.save()]
  }

  // A trace is somebody's who watches, whatever state there is.
  test.each(LIVES.filter(([what]) => what !== 'was traced'))('that %s', (_, life) => {
    const source = machine()
    const origin = source.createProcessor(HOSTED)
    mapped(source, origin)
    // mov ecx,9; L: dec ecx; jnz L; fld1; movdqu xmm1,[rdi]; std; syscall
    run(source, origin, 'mov $9,%ecx; 1: dec %ecx; jne 1b; fld1; movdqu (%rdi),%xmm1; std; syscall')
    origin.registers.setDebug(0, 5, 0)
    const state = origin.save()
    const restored = (m: Machine, p: Processor): unknown[] => {
      p.load(state)
      return lasting(m, p)
    }
    const dirty = machine()
    const used = dirty.createProcessor(HOSTED)
    mapped(dirty, used)
    life(dirty, used)
    const fresh = machine()
    expect(restored(dirty, used)).toEqual(restored(fresh, fresh.createProcessor(HOSTED)))
  })
})

describe('a destroyed processor', () => {
  const handles: readonly [what: string, use: (p: Processor) => void][] = [
    ['registers', (p) => p.registers.set(GPR.rax, 1, 2)],
    ['control registers, which flush', (p) => p.registers.setControl(3, 0x1000, 0)],
    ['segments', (p) => p.registers.setSegment(SEGMENT.cs, flat32(0x23, 0xc0fb))],
    ['debug registers', (p) => {
      p.registers.setDebug(0, 5, 0)
      p.registers.setDebug(7, 3, 0)
    }],
    ['flushes', (p) => {
      p.flushTlb()
      p.flushPage(4096)
    }],
    ['the floating-point image', (p) => p.loadFpu(new Uint8Array(512).fill(1))],
    ['a saved state', (p) => p.load(machine().createProcessor(HOSTED).save())],
    ['a trace', (p) => p.trace({ memory: () => {} }).stop()],
    ['the instruction', (p) => p.instruction()],
    ['taking back a store', (p) => p.undoAside()],
    ['a store', (p) => expect(() => p.storeAside(DATA, Uint32Array.of(1, 2))).toThrow('destroyed')],
    ['destroying it once more', (p) => p.destroy()],
  ]
  test.each(handles)('does nothing to the next one through %s', (_, use) => {
    const m = machine()
    const first = m.createProcessor(HOSTED)
    first.destroy()
    const second = m.createProcessor(HOSTED)
    mapped(m, second)
    run(m, second, 'mov %rcx,(%rdi); syscall')
    const before = whole(m, second)
    use(first)
    expect(whole(m, second)).toEqual(before)
    expect(() => m.createProcessor(HOSTED)).toThrowError(expect.objectContaining({ code: 'OUT_OF_RESOURCES' }))
  })

  test('refuses to run, and its traces have ended without touching the next one', () => {
    const m = machine()
    const first = m.createProcessor(HOSTED)
    const trace = first.trace({ memory: () => {} })
    first.destroy()
    expect(trace.active).toBe(false)
    const second = m.createProcessor(HOSTED)
    const before = whole(m, second)
    trace.stop()
    expect(whole(m, second)).toEqual(before)
    expect(() => first.run(1)).toThrowError(expect.objectContaining({ code: 'INVALID_STATE' }))
  })
})
