import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { PAGE_FAULT, PTE, VECTOR } from '../../../../src/x86/index.ts'
import { CODE, CpuBench, DATA, STACK_END, hexBytes } from '../../../support/cpu.ts'

const SYSCALL = '0f05'
const bench = (): CpuBench => new CpuBench()

describe('control flow', () => {
  const programs: readonly [string, string, bigint][] = [
    // mov ecx,10; xor eax,eax; L: add eax,ecx; dec ecx; jnz L
    ['a counted loop sums', 'b90a000000 31c0 01c8 ffc9 75fa', 55n],
    // mov ecx,5; xor eax,eax; L: inc eax; loop L
    ['LOOP counts down without flags', 'b905000000 31c0 ffc0 e2fc', 5n],
    // call F; jmp E; F: mov eax,7; ret; E:
    ['CALL and RET come back', 'e802000000 eb06 b807000000 c3', 7n],
    // lea rax,[rip+3]; jmp rax; ud2; nop: mov eax,9
    ['an indirect jump goes where the register says', '488d0504000000 ffe0 0f0b b809000000', 9n],
    // push 5; push 6; pop rax; pop rcx; add rax,rcx
    ['the stack gives back in reverse order', '6a05 6a06 58 59 4801c8', 11n],
    // mov eax,1; cmp eax,2; jl +5; mov eax,99 ; E:
    ['a comparison that is dispatched with its jump is taken', 'b801000000 83f802 7c05 b863000000', 1n],
    // fib(10) by recursion: mov edi,10; call F; jmp E; F: cmp edi,2; jb B; push rdi; dec edi; call F; pop rdi; push rax; sub edi,2;
    // call F; pop rcx; add eax,ecx; ret; B: mov eax,edi; ret
    ['recursion finds its way', 'bf0a000000 e802000000 eb1e 83ff02 7216 57 ffcf e8f3ffffff 5f 50 83ef02 e8e9ffffff 59 01c8 c3 89f8 c3', 55n],
  ]
  test.each(programs)('%s', (_, code, result) => {
    const b = bench()
    expect(b.run(code + SYSCALL)).toBe(EXIT.SYSCALL)
    expect(b.get('rax')).toBe(result)
  })

  test('rip is behind SYSCALL and rcx is left alone', () => {
    const b = bench()
    b.set('rcx', 77)
    expect(b.run('90' + SYSCALL)).toBe(EXIT.SYSCALL)
    expect(b.cpu.registers.rip()).toBe(CODE + 3)
    expect(b.get('rcx')).toBe(77n)
  })
})

describe('the instruction budget is exact', () => {
  test('what a run executes is what it counts, wherever its own slices fall', () => {
    // L: nineteen times inc rax; jmp L
    const block = `${'48ffc0'.repeat(19)} ebc5`
    for (let length = 400_000 - 3; length < 400_000 + 70; length += 1) {
      const b = bench()
      expect(b.run(block, length)).toBe(EXIT.BUDGET)
      expect(b.cpu.executed).toBe(length)
      expect([length, b.get('rax')]).toEqual([length, BigInt(length - Math.floor(length / 20))])
      expect(b.cpu.registers.rip()).toBe(CODE + (length % 20) * 3)
    }
  })

  // xor eax,eax; L: inc rax; add rdx,rax; test eax,eax; jnz L
  const LOOP = '31c0 48ffc0 4801c2 85c0 75f6'
  test('in pieces of any size the same program does the same', () => {
    const whole = bench()
    whole.run(LOOP, 1001)
    for (const piece of [1, 2, 3, 7, 50]) {
      const b = bench()
      b.write(CODE, hexBytes(LOOP))
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
    expect(b.run('f3aa' + SYSCALL, 40)).toBe(EXIT.BUDGET)
    expect([b.cpu.executed, b.get('rcx'), b.cpu.registers.rip()]).toEqual([40, 60n, CODE])
    expect(b.cpu.run(1000)).toBe(EXIT.SYSCALL)
    expect(b.cpu.executed).toBe(61)
    expect([...b.read(DATA, 101)]).toEqual([...Array<number>(100).fill(0xab), 0])
  })

  test('what a fault leaves undone is not counted', () => {
    const b = bench()
    b.set('rdi', 0x1234)
    // three NOPs, then a load from nowhere, and more behind it
    expect(b.run('909090 488b07 9090')).toBe(EXIT.EXCEPTION)
    expect([b.cpu.executed, b.cpu.registers.rip()]).toEqual([3, CODE + 3])
  })
})

describe('faults', () => {
  test.each([
    ['a read of an unmapped page', '488b07', 0x123_0000, PAGE_FAULT.USER],
    ['a write to an unmapped page', '488907', 0x123_0000, PAGE_FAULT.USER | PAGE_FAULT.WRITE],
    ['a write to a read-only page', '488907', DATA + 0x10_0000, PAGE_FAULT.USER | PAGE_FAULT.WRITE | PAGE_FAULT.PRESENT],
    ['a read-modify-write of a read-only page', '480107', DATA + 0x10_0000, PAGE_FAULT.USER | PAGE_FAULT.WRITE | PAGE_FAULT.PRESENT],
  ])('%s is precise', (_, code, address, errorCode) => {
    const b = bench()
    b.map(DATA + 0x10_0000, PTE.PRESENT | PTE.USER)
    b.set('rdi', address + 8)
    b.set('rax', 5)
    const flags = b.cpu.registers.flags()
    expect(b.run('ffc0' + code)).toBe(EXIT.EXCEPTION)
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
    expect(b.run('488907')).toBe(EXIT.EXCEPTION)
    expect(b.cpu.exit.address).toBe(last)
    expect([...b.read(last - 4, 4)]).toEqual([1, 2, 3, 4])
  })

  test('code on a page without execute permission is not fetched', () => {
    const b = bench()
    b.map(DATA + 0x20_0000, PTE.PRESENT | PTE.USER | PTE.WRITABLE, b.frame(), true)
    b.set('rax', DATA + 0x20_0000)
    expect(b.run('ffe0')).toBe(EXIT.EXCEPTION)
    expect([b.cpu.exit.vector, b.cpu.exit.errorCode, b.cpu.exit.address])
      .toEqual([VECTOR.PF, PAGE_FAULT.USER | PAGE_FAULT.PRESENT | PAGE_FAULT.FETCH, DATA + 0x20_0000])
    expect(b.cpu.registers.rip()).toBe(DATA + 0x20_0000)
  })

  test('an instruction that goes on in an unmapped page faults with that page', () => {
    const b = bench()
    const end = CODE + 8 * 4096
    b.write(end - 2, hexBytes('488b'))
    b.jump(end - 2)
    expect(b.cpu.run(10)).toBe(EXIT.EXCEPTION)
    expect([b.cpu.exit.vector, b.cpu.exit.address, b.cpu.registers.rip()]).toEqual([VECTOR.PF, end, end - 2])
  })

  test('addresses that are not canonical are general protection or stack faults', () => {
    const b = bench()
    b.set('rdi', 0x8000_0000_0000_0000n)
    expect([b.run('488b07'), b.cpu.exit.vector, b.cpu.exit.errorCode]).toEqual([EXIT.EXCEPTION, VECTOR.GP, 0])
    b.set('rbp', 0x8000_0000_0000_0000n)
    expect([b.run('488b4500'), b.cpu.exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.SS])
    b.set('rsp', 0x8000_0000_0000_0000n)
    expect([b.run('50'), b.cpu.exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.SS])
  })

  test.each([
    ['fbld (%rbp)', 'df6500', 'rbp', VECTOR.SS], ['fbld (%rsp)', 'df2424', 'rsp', VECTOR.SS], ['fbld (%rcx)', 'df21', 'rcx', VECTOR.GP],
    ['mov %fs:(%rbp)', '64488b4500', 'rbp', VECTOR.GP], ['mov %ss:(%rcx), where SS says nothing', '36488b01', 'rcx', VECTOR.GP],
    ['mov (%rbp,%rcx)', '488b440d00', 'rbp', VECTOR.SS], ['mov (%rcx,%rbp)', '488b0429', 'rbp', VECTOR.GP],
    ['lods %ss:(%rsi)', '36ac', 'rsi', VECTOR.GP], ['bt %rax,(%rbp)', '480fa34500', 'rbp', VECTOR.SS],
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
    b.run('488b07' + SYSCALL)
    expect(view.getUint32(entry, true) & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED)
    b.run('488907' + SYSCALL)
    expect(view.getUint32(entry, true) & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED | PTE.DIRTY)
  })

  test('a repetition that faults restarts where it stopped', () => {
    const b = bench()
    const last = DATA + 8 * 4096
    b.set('rdi', last - 16)
    b.set('rcx', 10)
    b.set('rax', 0x1111_1111)
    expect(b.run('f348ab' + SYSCALL)).toBe(EXIT.EXCEPTION)
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
    expect(b.run('884701 b301' + SYSCALL)).toBe(EXIT.SYSCALL)
    expect(b.get('rbx') & 0xffn).toBe(2n)
  })

  test('a store into a block that ran before is seen when it runs again', () => {
    const b = bench()
    // call F (mov eax,1; ret) twice, patching between: F at CODE+0x40
    b.write(CODE + 0x40, hexBytes('b801000000c3'))
    b.set('rdi', CODE + 0x41)
    expect(b.run('e83b000000 89c3 c60705 e831000000' + SYSCALL)).toBe(EXIT.SYSCALL)
    expect([b.get('rbx'), b.get('rax')]).toEqual([1n, 5n])
  })

  test('the host may change code too', () => {
    const b = bench()
    b.run('b801000000' + SYSCALL)
    b.write(CODE + 1, [9])
    b.jump(CODE)
    b.cpu.run(10)
    expect(b.get('rax')).toBe(9n)
  })

  test('data beside code is written without decoding the code again', () => {
    const b = bench()
    // mov ecx,1000; L: mov [rdi],ecx; dec ecx; jnz L, with rdi in the same page
    b.set('rdi', CODE + 0x800)
    expect(b.run('b9e8030000 890f ffc9 75fa' + SYSCALL)).toBe(EXIT.SYSCALL)
    expect([...b.read(CODE + 0x800, 4)]).toEqual([1, 0, 0, 0])
  })

  test('an instruction across two pages is decoded anew when either changes', () => {
    const b = bench()
    const at = CODE + 4096 - 2
    b.write(at, hexBytes(`b801000000${SYSCALL}`))
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
    ['cli', 'fa', { operation: 'cli', length: 1 }],
    ['hlt', 'f4', { operation: 'hlt', length: 1 }],
    ['cpuid', '0fa2', { operation: 'cpuid', length: 2 }],
    ['mov rax,cr3', '0f20d8', { operation: 'read-cr', length: 3, register: 3, general: 0 }],
    ['mov cr0,rcx', '0f22c1', { operation: 'write-cr', length: 3, register: 0, general: 1 }],
    ['out 0x80,al', 'e680', { operation: 'out', length: 2, size: 1, port: 0x80 }],
    ['in eax,dx', 'ed', { operation: 'in', length: 1, size: 4, port: 0x3f8 }],
    ['wrmsr', '0f30', { operation: 'wrmsr', length: 2 }],
    ['swapgs', '0f01f8', { operation: 'swapgs', length: 3 }],
  ])('%s', (_, code, request) => {
    const b = bench()
    b.set('rdx', 0x3f8)
    expect(b.run('90' + code)).toBe(EXIT.PRIVILEGED)
    expect(b.cpu.exit.request).toMatchObject(request)
    expect([b.cpu.registers.rip(), b.cpu.executed]).toEqual([CODE + 1, 1])
  })

  test('INT says its vector and leaves rip behind itself', () => {
    const b = bench()
    expect(b.run('cd82')).toBe(EXIT.INTERRUPT)
    expect([b.cpu.exit.vector, b.cpu.registers.rip(), b.cpu.executed]).toEqual([0x82, CODE + 2, 1])
  })

  test('POPF in ring 3 cannot change IF', () => {
    const b = bench()
    // push 0xcd5 | no IF; popf
    expect(b.run('68d50c0000 9d' + SYSCALL)).toBe(EXIT.SYSCALL)
    expect(b.cpu.registers.flags()).toBe(0xcd7 | 0x200)
  })

  test('FS and GS bases take part in addresses', () => {
    const b = bench()
    b.write(DATA + 0x28, [0x5a])
    b.cpu.registers.setSegment(5, { selector: 0, baseLow: DATA, baseHigh: 0, limit: 0, attributes: 0 })
    // movzx eax, byte gs:[0x28]
    expect(b.run('65 0fb6042528000000' + SYSCALL)).toBe(EXIT.SYSCALL)
    expect(b.get('rax')).toBe(0x5an)
  })

  test('IRETQ returns to the same privilege level', () => {
    const table: Record<number, [number, number]> = { 0xe033: [0xffff, 0xaf_fb00], 0xe02b: [0xffff, 0xcf_f300] }
    const b = new CpuBench({
      descriptors: {
        read: (selector, out) => {
          const found = table[selector]
          if (found !== undefined) out.set(found)
          return found !== undefined
        },
      },
    })
    // push ss; push rsp-of-choice; push flags; push cs; push target; iretq
    const target = CODE + 0x100
    b.write(target, hexBytes('b82a000000' + SYSCALL))
    b.set('rbx', target)
    b.set('rdx', STACK_END - 64)
    expect(b.run('682be00000 52 6a02 6833e00000 53 48cf')).toBe(EXIT.SYSCALL)
    expect([b.get('rax'), b.get('rsp')]).toEqual([42n, BigInt(STACK_END - 64)])
  })
})

test('state survives saving and restoring', () => {
  const b = bench()
  b.run('b805000000 83c0fb' + SYSCALL)
  const state = b.cpu.save()
  const other = b.machine.createProcessor({ mode: 'hosted' })
  other.load(JSON.parse(JSON.stringify(state)) as typeof state)
  expect(other.save()).toEqual(state)
  expect(() => other.load({ ...state, general: [1] })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  other.destroy()
})
