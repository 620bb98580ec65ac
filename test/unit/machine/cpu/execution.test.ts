import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { PAGE_FAULT, PTE, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { CODE, CpuBench, DATA, STACK_END } from '../../../support/cpu.ts'

const SYSCALL = 'syscall'
const bench = (): CpuBench => new CpuBench()

describe('control flow', () => {
  const programs: readonly [string, string, bigint][] = [
    ['a counted loop sums', 'mov $10,%ecx; xor %eax,%eax; 1: add %ecx,%eax; dec %ecx; jne 1b', 55n],
    ['LOOP counts down without flags', 'mov $5,%ecx; xor %eax,%eax; 1: inc %eax; loop 1b', 5n],
    ['CALL and RET come back', 'call 1f; jmp 2f; 1: mov $7,%eax; ret; 2:', 7n],
    ['an indirect jump goes where the register says', 'lea 0x4(%rip),%rax; jmp *%rax; ud2; mov $9,%eax', 9n],
    ['the stack gives back in reverse order', 'push $5; push $6; pop %rax; pop %rcx; add %rcx,%rax', 11n],
    ['a comparison that is dispatched with its jump is taken', 'mov $1,%eax; cmp $2,%eax; jl 1f; mov $0x63,%eax; 1:;', 1n],
    // fib(10) by recursion: mov edi,10; call F; jmp E; F: cmp edi,2; jb B; push rdi; dec edi; call F; pop rdi; push rax; sub edi,2;
    ['recursion finds its way', 'mov $10,%edi; call 1f; jmp 2f; 1: cmp $2,%edi; jb 3f; push %rdi; dec %edi; call 1b; pop %rdi; push %rax; sub $2,%edi; call 1b; pop %rcx; add %ecx,%eax; ret; 3: mov %edi,%eax; ret; 2:', 55n],
  ]
  test.each(programs)('%s', (_, code, result) => {
    const b = bench()
    expect(b.run(`${code}; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(b.get('rax')).toBe(result)
  })

  test('rip is behind SYSCALL and rcx is left alone', () => {
    const b = bench()
    b.set('rcx', 77)
    expect(b.run(`nop; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(b.cpu.registers.rip()).toBe(CODE + 3)
    expect(b.get('rcx')).toBe(77n)
  })
})

describe('the instruction budget is exact', () => {
  test('what a run executes is what it counts, wherever its own slices fall', { timeout: 60_000 }, () => {
    const block = `again: ${'inc %rax;'.repeat(19)} jmp again`
    for (let length = 400_000 - 3; length < 400_000 + 70; length += 1) {
      const b = bench()
      expect(b.run(block, length)).toBe(EXIT.BUDGET)
      expect(b.cpu.executed).toBe(length)
      expect([length, b.get('rax')]).toEqual([length, BigInt(length - Math.floor(length / 20))])
      expect(b.cpu.registers.rip()).toBe(CODE + (length % 20) * 3)
    }
  })

  const LOOP = 'xor %eax,%eax; 1: inc %rax; add %rax,%rdx; test %eax,%eax; jne 1b'
  test('in pieces of any size the same program does the same', () => {
    const whole = bench()
    whole.run(LOOP, 1001)
    for (const piece of [1, 2, 3, 7, 50]) {
      const b = bench()
      b.write(CODE, assemble(LOOP))
      let done = 0
      while (done < 1001) {
        expect(b.cpu.run(Math.min(piece, 1001 - done))).toBe(EXIT.BUDGET)
        done += b.cpu.executed
      }
      expect(done).toBe(1001)
      expect([b.get('rax'), b.get('rdx'), b.cpu.registers.rip(), b.cpu.registers.flags()])
        .toEqual([whole.get('rax'), whole.get('rdx'), whole.cpu.registers.rip(), whole.cpu.registers.flags()])
    }
  })

  test('each repetition of a string instruction counts, and it stops half-way when the budget does', () => {
    const b = bench()
    b.set('rcx', 100)
    b.set('rdi', DATA)
    b.set('rax', 0xab)
    expect(b.run(`rep stos %al,%es:(%rdi); ${SYSCALL}`, 40)).toBe(EXIT.BUDGET)
    expect([b.cpu.executed, b.get('rcx'), b.cpu.registers.rip()]).toEqual([40, 60n, CODE])
    expect(b.cpu.run(1000)).toBe(EXIT.SYSCALL)
    expect(b.cpu.executed).toBe(61)
    expect([...b.read(DATA, 101)]).toEqual([...Array<number>(100).fill(0xab), 0])
  })

  test('what a fault leaves undone is not counted', () => {
    const b = bench()
    b.set('rdi', 0x1234)
    // three NOPs, then a load from nowhere, and more behind it
    expect(b.run('nop; nop; nop; mov (%rdi),%rax; nop; nop')).toBe(EXIT.EXCEPTION)
    expect([b.cpu.executed, b.cpu.registers.rip()]).toEqual([3, CODE + 3])
  })
})

describe('faults', () => {
  test.each([
    ['a read of an unmapped page', 'mov (%rdi),%rax', 0x123_0000, PAGE_FAULT.USER],
    ['a write to an unmapped page', 'mov %rax,(%rdi)', 0x123_0000, PAGE_FAULT.USER | PAGE_FAULT.WRITE],
    ['a write to a read-only page', 'mov %rax,(%rdi)', DATA + 0x10_0000, PAGE_FAULT.USER | PAGE_FAULT.WRITE | PAGE_FAULT.PRESENT],
    ['a read-modify-write of a read-only page', 'add %rax,(%rdi)', DATA + 0x10_0000, PAGE_FAULT.USER | PAGE_FAULT.WRITE | PAGE_FAULT.PRESENT],
  ])('%s is precise', (_, code, address, errorCode) => {
    const b = bench()
    b.map(DATA + 0x10_0000, PTE.PRESENT | PTE.USER)
    b.set('rdi', address + 8)
    b.set('rax', 5)
    const flags = b.cpu.registers.flags()
    expect(b.run(`inc %eax; ${code}`)).toBe(EXIT.EXCEPTION)
    expect([b.cpu.exit.vector, b.cpu.exit.errorCode, b.cpu.exit.address]).toEqual([VECTOR.PF, errorCode, address + 8])
    expect(b.get('rax')).toBe(6n)
    expect(b.cpu.registers.rip()).toBe(CODE + 2)
    expect(flags & 0x200).toBe(0x200)
  })

  test('an access that runs into an unmapped page faults at that page and changes nothing', () => {
    const b = bench()
    const last = DATA + 8 * 4096
    b.write(last - 4, [1, 2, 3, 4])
    b.set('rdi', last - 4)
    b.set('rax', -1)
    expect(b.run('mov %rax,(%rdi)')).toBe(EXIT.EXCEPTION)
    expect(b.cpu.exit.address).toBe(last)
    expect([...b.read(last - 4, 4)]).toEqual([1, 2, 3, 4])
  })

  test('code on a page without execute permission is not fetched', () => {
    const b = bench()
    b.map(DATA + 0x20_0000, PTE.PRESENT | PTE.USER | PTE.WRITABLE, b.frame(), true)
    b.set('rax', DATA + 0x20_0000)
    expect(b.run('jmp *%rax')).toBe(EXIT.EXCEPTION)
    expect([b.cpu.exit.vector, b.cpu.exit.errorCode, b.cpu.exit.address])
      .toEqual([VECTOR.PF, PAGE_FAULT.USER | PAGE_FAULT.PRESENT | PAGE_FAULT.FETCH, DATA + 0x20_0000])
    expect(b.cpu.registers.rip()).toBe(DATA + 0x20_0000)
  })

  test('an instruction that goes on in an unmapped page faults with that page', () => {
    const b = bench()
    const end = CODE + 8 * 4096
    b.write(end - 2, [0x48, 0x8b])
    b.jump(end - 2)
    expect(b.cpu.run(10)).toBe(EXIT.EXCEPTION)
    expect([b.cpu.exit.vector, b.cpu.exit.address, b.cpu.registers.rip()]).toEqual([VECTOR.PF, end, end - 2])
  })

  test('addresses that are not canonical are general protection or stack faults', () => {
    const b = bench()
    b.set('rdi', 0x8000_0000_0000_0000n)
    expect([b.run('mov (%rdi),%rax'), b.cpu.exit.vector, b.cpu.exit.errorCode]).toEqual([EXIT.EXCEPTION, VECTOR.GP, 0])
    b.set('rbp', 0x8000_0000_0000_0000n)
    expect([b.run('mov 0x0(%rbp),%rax'), b.cpu.exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.SS])
    b.set('rsp', 0x8000_0000_0000_0000n)
    expect([b.run('push %rax'), b.cpu.exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.SS])
  })

  test.each([
    ['fbld (%rbp)', 'fbld 0x0(%rbp)', 'rbp', VECTOR.SS], ['fbld (%rsp)', 'fbld (%rsp)', 'rsp', VECTOR.SS], ['fbld (%rcx)', 'fbld (%rcx)', 'rcx', VECTOR.GP],
    ['mov %fs:(%rbp)', 'mov %fs:0x0(%rbp),%rax', 'rbp', VECTOR.GP], ['mov %ss:(%rcx), where SS says nothing', 'ss mov (%rcx),%rax', 'rcx', VECTOR.GP],
    ['mov (%rbp,%rcx)', 'mov 0x0(%rbp,%rcx,1),%rax', 'rbp', VECTOR.SS], ['mov (%rcx,%rbp)', 'mov (%rcx,%rbp,1),%rax', 'rbp', VECTOR.GP],
    ['lods %ss:(%rsi)', '.byte 0x36,0xac', 'rsi', VECTOR.GP], ['bt %rax,(%rbp)', 'bt %rax,0x0(%rbp)', 'rbp', VECTOR.SS],
  ] as const)('%s tells by its segment which of both', (_what, code, register, vector) => {
    const b = bench()
    b.set(register, 0x8000_0000_0000_0000n)
    expect([b.run(code), b.cpu.exit.vector, b.cpu.exit.errorCode]).toEqual([EXIT.EXCEPTION, vector, 0])
  })

  test('accessed and dirty bits are set by what was done', () => {
    const b = bench()
    const entry = b.entry(DATA)
    const { view } = b.machine.memory
    b.set('rdi', DATA)
    b.run(`mov (%rdi),%rax; ${SYSCALL}`)
    expect(view.getUint32(entry, true) & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED)
    b.run(`mov %rax,(%rdi); ${SYSCALL}`)
    expect(view.getUint32(entry, true) & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED | PTE.DIRTY)
  })

  test('a repetition that faults restarts where it stopped', () => {
    const b = bench()
    const last = DATA + 8 * 4096
    b.set('rdi', last - 16)
    b.set('rcx', 10)
    b.set('rax', 0x1111_1111)
    expect(b.run(`rep stos %rax,%es:(%rdi); ${SYSCALL}`)).toBe(EXIT.EXCEPTION)
    expect([b.get('rcx'), b.get('rdi'), b.cpu.exit.address]).toEqual([8n, BigInt(last), last])
    b.map(last)
    expect(b.cpu.run(100)).toBe(EXIT.SYSCALL)
    expect(b.get('rcx')).toBe(0n)
  })
})

describe('code that changes', () => {
  test('a store into the next instruction is seen', () => {
    const b = bench()
    b.set('rdi', CODE + 3)
    b.set('rax', 2)
    // mov [rdi],al ... writes the immediate of the mov below: mov byte [rdi+?]
    // 88 47 03: mov [rdi+3],al changes imm of "mov ebx,1" at CODE+3+... (b3 at +3, imm at +4)
    expect(b.run(`mov %al,0x1(%rdi); mov $1,%bl; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(b.get('rbx') & 0xffn).toBe(2n)
  })

  test('a store into a block that ran before is seen when it runs again', () => {
    const b = bench()
    // call F (mov eax,1; ret) twice, patching between: F at CODE+0x40
    b.write(CODE + 0x40, assemble('mov $1,%eax; ret'))
    b.set('rdi', CODE + 0x41)
    expect(b.run(`call .+64; mov %eax,%ebx; movb $5,(%rdi); call .+54; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect([b.get('rbx'), b.get('rax')]).toEqual([1n, 5n])
  })

  test('the host may change code too', () => {
    const b = bench()
    b.run(`mov $1,%eax; ${SYSCALL}`)
    b.write(CODE + 1, [9])
    b.jump(CODE)
    b.cpu.run(10)
    expect(b.get('rax')).toBe(9n)
  })

  test('data beside code is written without decoding the code again', () => {
    const b = bench()
    // mov ecx,1000; L: mov [rdi],ecx; dec ecx; jnz L, with rdi in the same page
    b.set('rdi', CODE + 0x800)
    expect(b.run(`mov $0x3e8,%ecx; 1: mov %ecx,(%rdi); dec %ecx; jne 1b; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect([...b.read(CODE + 0x800, 4)]).toEqual([1, 0, 0, 0])
  })

  test('an instruction across two pages is decoded anew when either changes', () => {
    const b = bench()
    const at = CODE + 4096 - 2
    b.write(at, assemble(`mov $1,%eax; ${SYSCALL}`))
    for (const value of [1, 2, 3]) {
      b.write(at + 2, [value])
      b.jump(at)
      expect(b.cpu.run(10)).toBe(EXIT.SYSCALL)
      expect(b.get('rax')).toBe(BigInt(value * 256 + 1))
    }
  })
})

describe('a hosted processor leaves to its host', () => {
  test.each([
    ['cli', 'cli', { operation: 'cli', length: 1 }],
    ['hlt', 'hlt', { operation: 'hlt', length: 1 }],
    ['cpuid', 'cpuid', { operation: 'cpuid', length: 2 }],
    ['mov rax,cr3', 'mov %cr3,%rax', { operation: 'read-cr', length: 3, register: 3, general: 0 }],
    ['mov cr0,rcx', 'mov %rcx,%cr0', { operation: 'write-cr', length: 3, register: 0, general: 1 }],
    ['out 0x80,al', 'out %al,$0x80', { operation: 'out', length: 2, size: 1, port: 0x80 }],
    ['in eax,dx', 'in (%dx),%eax', { operation: 'in', length: 1, size: 4, port: 0x3f8 }],
    ['wrmsr', 'wrmsr', { operation: 'wrmsr', length: 2 }],
    ['swapgs', 'swapgs', { operation: 'swapgs', length: 3 }],
  ])('%s', (_, code, request) => {
    const b = bench()
    b.set('rdx', 0x3f8)
    expect(b.run(`nop; ${code}`)).toBe(EXIT.PRIVILEGED)
    expect(b.cpu.exit.request).toMatchObject(request)
    expect([b.cpu.registers.rip(), b.cpu.executed]).toEqual([CODE + 1, 1])
  })

  test('INT says its vector and leaves rip behind itself', () => {
    const b = bench()
    expect(b.run('int $0x82')).toBe(EXIT.INTERRUPT)
    expect([b.cpu.exit.vector, b.cpu.registers.rip(), b.cpu.executed]).toEqual([0x82, CODE + 2, 1])
  })

  test('POPF in ring 3 cannot change IF', () => {
    const b = bench()
    // push 0xcd5 | no IF; popf
    expect(b.run(`push $0xcd5; popf; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(b.cpu.registers.flags()).toBe(0xcd7 | 0x200)
  })

  test('FS and GS bases take part in addresses', () => {
    const b = bench()
    b.write(DATA + 0x28, [0x5a])
    b.cpu.registers.setSegment(5, { selector: 0, baseLow: DATA, baseHigh: 0, limit: 0, attributes: 0 })
    // movzx eax, byte gs:[0x28]
    expect(b.run(`movzbl %gs:0x28,%eax; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(b.get('rax')).toBe(0x5an)
  })

  /** A processor with flat segments for code and stack, of which its host may say that they never change. */
  function withSegments(constant: readonly number[] = [], accounting: 'instructions' | 'work' = 'instructions'): CpuBench {
    const table: Record<number, [number, number]> = { 0xe033: [0xffff, 0xaf_fb00], 0xe02b: [0xffff, 0xcf_f300] }
    return new CpuBench({
      accounting,
      descriptors: {
        isConstant: (selector) => constant.includes(selector),
        read: (selector, out) => {
          const found = table[selector]
          if (found !== undefined) out.set(found)
          return found !== undefined
        },
      },
    })
  }

  const FLAT = [0xe033, 0xe02b] as const

  test.each(['instructions', 'work'] as const)('IRETQ to whatever its frame says ends in the same state where the host says that descriptors never change, counting %s', (accounting) => {
    const targets = [CODE + 0x100, CODE + 0x200]
    const benches = [[], FLAT].map((constant) => {
      const b = withSegments(constant, accounting)
      for (const target of targets) b.write(target, assemble(`mov $42,%eax; ${SYSCALL}`))
      b.write(CODE, assemble('iretq'))
      return { b, begun: b.cpu.save() }
    })
    const ends = (frame: readonly number[], before = 0x202): string[] => benches.map(({ b, begun }) => {
      b.cpu.load(begun)
      b.cpu.registers.setFlags(before)
      b.write(STACK_END - 128, new Uint8Array(BigInt64Array.from(frame, BigInt).buffer))
      b.set('rsp', STACK_END - 128)
      return JSON.stringify([b.cpu.run(1000), b.cpu.exit.vector, b.cpu.exit.errorCode, b.cpu.executed, b.cpu.save()])
    })
    const addresses = [...targets, 2 ** 47, 0x1234]
    const allowed = addresses.flatMap((rip) => [2, 0x8d7, 0x102, 0x402, 0x4002, 0x1_0002, 0x4_0002, 0x20_0002, 0x3202].flatMap((flags) =>
      [STACK_END - 64, 2 ** 52, -8].map((stack) => [rip, FLAT[0], flags, stack, FLAT[1]])))
    const others = [...FLAT, 0xe032, 3, 0x33].flatMap((cs) => [...FLAT, 0xe028, 0].map((ss) => [targets[0]!, cs, 2, STACK_END - 64, ss]))
    for (const frame of [...allowed, ...others]) {
      const [read, remembered] = ends(frame)
      expect(remembered).toBe(read)
    }
    expect(new Set([...allowed, ...others].map((frame) => ends(frame)[1])).size).toBeGreaterThan(30)
    // Whatever the flags were: nested task, resumed, stepped, counting down, aligned.
    for (const before of [0x8d7, 0x302, 0x602, 0x4202, 0x1_0202, 0x4_0202, 0x20_0202]) {
      for (const flags of [2, before]) {
        const [read, remembered] = ends([targets[0]!, FLAT[0], flags, STACK_END - 64, FLAT[1]], before)
        expect(remembered).toBe(read)
      }
    }
  })

  test('IRETQ returns to the same privilege level', () => {
    const b = withSegments()
    // push ss; push rsp-of-choice; push flags; push cs; push target; iretq
    const target = CODE + 0x100
    b.write(target, assemble(`mov $42,%eax; ${SYSCALL}`))
    b.set('rbx', target)
    b.set('rdx', STACK_END - 64)
    expect(b.run('push $0xe02b; push %rdx; push $2; push $0xe033; push %rbx; iretq')).toBe(EXIT.SYSCALL)
    expect([b.get('rax'), b.get('rsp')]).toEqual([42n, BigInt(STACK_END - 64)])
  })

  // Bytes of the frame that lie in the first of two pages.
  const splits = [48, 40, 39, 36, 32, 24, 20, 16, 9, 8, 4]
  const STACK_PAGE = DATA + 0x30_0000

  test.each(splits)('IRETQ takes a frame of which %i bytes lie in front of a page\'s end, also while accesses are traced', (bytes) => {
    for (const [isTraced, constant] of [[false, []], [true, []], [false, FLAT], [true, FLAT]] as const) {
      const b = withSegments(constant)
      const accesses: unknown[] = []
      if (isTraced) b.cpu.trace({ memory: ({ address, size }) => void accesses.push([address - top, size]) })
      b.map(STACK_PAGE)
      b.map(STACK_PAGE + 0x1000)
      const top = STACK_PAGE + 0x1000 - bytes
      const target = CODE + 0x100
      b.write(target, assemble(`mov $42,%eax; ${SYSCALL}`))
      const frame = new DataView(new ArrayBuffer(40))
      const values = [BigInt(target), 0xe033n, 0x8d7n, BigInt(STACK_END - 64), 0xe02bn]
      values.forEach((value, i) => frame.setBigUint64(i * 8, value, true))
      b.write(top, new Uint8Array(frame.buffer))
      b.set('rsp', top)
      expect(b.run('iretq')).toBe(EXIT.SYSCALL)
      expect([b.get('rax'), b.get('rsp'), b.cpu.registers.flags() & 0x8d5]).toEqual([42n, BigInt(STACK_END - 64), 0x8d5])
      expect(accesses).toEqual(isTraced ? [[16, 4], [0, 8], [8, 2], [32, 2], [24, 8]] : [])
    }
  })

  test.each(splits.filter((bytes) => bytes < 34))('IRETQ of which only the first %i bytes can be read faults as the first access beyond them does', (bytes) => {
    const b = withSegments(bytes % 2 === 0 ? FLAT : [])
    b.map(STACK_PAGE)
    const top = STACK_PAGE + 0x1000 - bytes
    b.set('rsp', top)
    expect(b.run('iretq')).toBe(EXIT.EXCEPTION)
    // Flags, rip, code segment, stack segment, stack pointer, as far as their pages are there.
    const first = ([[16, 4], [0, 8], [8, 2], [32, 2], [24, 8]] as const).find(([at, size]) => at + size > bytes)!
    expect([b.cpu.exit.vector, b.cpu.exit.address]).toEqual([VECTOR.PF, Math.max(top + first[0], STACK_PAGE + 0x1000)])
    expect(b.get('rsp')).toBe(BigInt(top))
  })
})

test('state survives saving and restoring', () => {
  const b = bench()
  b.run(`mov $5,%eax; add $0xfffffffb,%eax; ${SYSCALL}`)
  const state = b.cpu.save()
  const other = b.machine.createProcessor({ mode: 'hosted' })
  other.load(JSON.parse(JSON.stringify(state)) as typeof state)
  expect(other.save()).toEqual(state)
  expect(() => other.load({ ...state, general: [1] })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  other.destroy()
})
