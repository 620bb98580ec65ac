import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import type { TracedAccess, TracedException, TraceHooks } from '../../../../src/machine/index.ts'
import { PAGE_FAULT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { CODE, CpuBench, DATA, STACK_END, hexBytes } from '../../../support/cpu.ts'

const SYSCALL = 'syscall'

/** Runs code under hooks, up to an exit. */
function traced(code: string, hooks: TraceHooks, prepare: (b: CpuBench) => void = () => {}): { b: CpuBench; exit: number } {
  const b = new CpuBench()
  b.write(CODE, assemble(`${code}; ${SYSCALL}`))
  prepare(b)
  b.cpu.trace(hooks)
  return { b, exit: b.cpu.run(1000) }
}

/** All accesses of some code, in short. */
function accessesOf(code: string, prepare?: (b: CpuBench) => void): unknown[] {
  const seen: unknown[] = []
  traced(code, {
    memory: ({ kind, address, size, value, previous }) => {
      seen.push(kind === 'read' ? [kind, address, size, value] : [kind, address, size, previous, value])
    },
  }, prepare)
  return seen
}

describe('instructions', () => {
  test('each is told before it is executed, with its text and the registers it finds', () => {
    const seen: unknown[] = []
    const { exit } = traced('mov $5,%eax; add %eax,%eax; inc %eax', {
      instruction: ({ address, instruction, registers, count }) => {
        seen.push([address - CODE, count, instruction?.text, registers.low(0)])
      },
    })
    expect(seen).toEqual([
      [0, 0, 'mov    $0x5,%eax', 0], [5, 1, 'add    %eax,%eax', 5], [7, 2, 'inc    %eax', 10], [9, 3, 'syscall', 11],
    ])
    expect(exit).toBe(EXIT.SYSCALL)
  })

  test('a loop is told round by round, a repeated string instruction too', () => {
    let count = 0
    traced('mov $3,%ecx; 1: dec %ecx; jne 1b', { instruction: () => { count += 1 } })
    expect(count).toBe(1 + 3 * 2 + 1)
    count = 0
    const rounds = (b: CpuBench): void => {
      b.set('rcx', 4)
      b.set('rdi', DATA)
    }
    const { b } = traced('rep stos %al,%es:(%rdi)', { instruction: () => { count += 1 } }, rounds)
    expect([count, b.get('rcx')]).toEqual([5, 0n])
  })

  test('a hook stops the run before the instruction; the next run executes it', () => {
    const b = new CpuBench()
    b.write(CODE, assemble(`mov $1,%eax; mov $2,%eax; ${SYSCALL}`))
    b.cpu.trace({ instruction: ({ address }) => (address === CODE + 5 ? 'stop' : undefined) })
    expect([b.cpu.run(100), b.cpu.executed, b.cpu.registers.rip(), b.get('rax')]).toEqual([EXIT.DEBUG, 1, CODE + 5, 1n])
    expect([b.cpu.run(100), b.get('rax')]).toEqual([EXIT.SYSCALL, 2n])
  })

  test('a budget is kept to the instruction, and the count of a run is the same with and without a trace', () => {
    const code = assemble(`mov $0x3e8,%ecx; 1: dec %ecx; jne 1b; ${SYSCALL}`)
    const counts = [true, false].map((isTraced) => {
      const b = new CpuBench()
      b.write(CODE, code)
      if (isTraced) b.cpu.trace({ instruction: () => {} })
      b.cpu.run(777)
      const first = b.cpu.executed
      b.cpu.run(10_000)
      return [first, b.cpu.executed]
    })
    expect(counts[0]).toEqual([777, 1 + 2000 + 1 - 777])
    expect(counts[0]).toEqual(counts[1])
  })
})

describe('memory', () => {
  const at = (b: CpuBench): void => {
    b.set('rsi', DATA)
    b.set('rdi', DATA + 0x100)
    b.write(DATA, hexBytes('112233445566778899aabbccddeeff00'))
  }

  test.each([
    ['a load', 'mov (%rsi),%eax', [['read', DATA, 4, 0x4433_2211n]]],
    ['a store', 'movb $7,(%rsi)', [['write', DATA, 1, 0x11n, 7n]]],
    ['an addition in memory', 'addl $1,(%rsi)', [['write', DATA, 4, 0x4433_2211n, 0x4433_2212n]]],
    ['a push', 'push $5', [['write', STACK_END - 264, 8, 0n, 5n]]],
    ['a vector load', 'movups (%rsi),%xmm0', [['read', DATA, 16, 0x00ff_eedd_ccbb_aa99_8877_6655_4433_2211n]]],
    ['a copy of a string', 'movsb %ds:(%rsi),%es:(%rdi)', [['read', DATA, 1, 0x11n], ['write', DATA + 0x100, 1, 0n, 0x11n]]],
    ['a register instruction', 'mov %eax,%ebx', []],
    ['an x87 load', 'fldl (%rsi)', [['read', DATA, 8, 0x8877_6655_4433_2211n]]],
  ])('%s is told with its address, size and value', (_, code, expected) => {
    expect(accessesOf(code, at)).toEqual(expected)
  })

  test('a repeated copy tells each element', () => {
    const seen = accessesOf('rep movsb %ds:(%rsi),%es:(%rdi)', (b) => {
      at(b)
      b.set('rcx', 3)
    }) as [string, number, number, bigint][]
    expect(seen.map(([kind, address]) => [kind, address])).toEqual([
      ['read', DATA], ['write', DATA + 0x100], ['read', DATA + 1], ['write', DATA + 0x101], ['read', DATA + 2],
      ['write', DATA + 0x102],
    ])
  })

  test('an access across pages is one access', () => {
    const across = DATA + 0xffe
    expect(accessesOf('movl $0x11223344,(%rsi); mov (%rsi),%eax', (b) => b.set('rsi', across))).toEqual([
      ['write', across, 4, 0n, 0x1122_3344n], ['read', across, 4, 0x1122_3344n],
    ])
  })

  test('code that changes itself is told and then executed as changed', () => {
    const seen: TracedAccess[] = []
    // It changes the immediate of the instruction behind it.
    const { b } = traced('movb $9,0x1(%rip); mov $5,%eax', { memory: (access) => { seen.push(access) } })
    expect([seen[0]!.kind, seen[0]!.value, seen[0]!.previous, b.get('rax')]).toEqual(['write', 9n, 5n, 9n])
  })

  test('a wish to stop counts behind the instruction', () => {
    const { b, exit } = traced('mov (%rsi),%eax; mov $2,%eax', { memory: () => 'stop' }, at)
    expect([exit, b.cpu.registers.rip(), b.get('rax')]).toEqual([EXIT.DEBUG, CODE + 2, 0x4433_2211n])
  })

  test('an access that faults is not told', () => {
    const b = new CpuBench()
    b.write(CODE, assemble('mov 0xfffffffff0000000,%eax'))
    const seen: unknown[] = []
    b.cpu.trace({ memory: (access) => { seen.push(access) } })
    expect([b.cpu.run(10), seen]).toEqual([EXIT.EXCEPTION, []])
  })
})

describe('exceptions', () => {
  test('a page fault is told before its host hears of it', () => {
    const seen: TracedException[] = []
    const { exit } = traced('mov 0x300000,%eax', { exception: (event) => { seen.push(event) } })
    expect(seen).toEqual([{ vector: VECTOR.PF, errorCode: PAGE_FAULT.USER, address: 0x30_0000, instruction: CODE }])
    expect(exit).toBe(EXIT.EXCEPTION)
  })

  test('one that stops is not lost: first the exception, then the stop', () => {
    const { b, exit } = traced('ud2', { exception: () => 'stop' })
    expect([exit, b.cpu.exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.UD])
    b.jump(CODE + 2)
    expect([b.cpu.run(10), b.cpu.registers.rip()]).toEqual([EXIT.DEBUG, CODE + 2])
    expect(b.cpu.run(10)).toBe(EXIT.SYSCALL)
  })
})

describe('a trace', () => {
  test('ends when told, and the processor is as before', () => {
    const b = new CpuBench()
    b.write(CODE, assemble(`1: inc %eax; jmp 1b`))
    let count = 0
    const trace = b.cpu.trace({ instruction: () => { count += 1 }, memory: () => {} })
    b.cpu.run(100)
    trace.stop()
    trace.stop()
    b.cpu.run(100_000)
    expect([count, trace.active, b.get('rax')]).toEqual([100, false, 50_050n])
  })

  test('that throws ends alone; others go on', () => {
    const b = new CpuBench()
    b.write(CODE, assemble(`inc %eax; inc %eax; inc %eax; ${SYSCALL}`))
    let count = 0
    const bad = b.cpu.trace({ instruction: () => { throw new Error('mine') } })
    b.cpu.trace({ instruction: () => { count += 1 } })
    expect([b.cpu.run(100), count, bad.active]).toEqual([EXIT.SYSCALL, 4, false])
    expect(bad.error).toEqual(new Error('mine'))
  })
})

test('a processor tells the instruction at rip, across pages too, and none where nothing is mapped', () => {
  const b = new CpuBench()
  b.write(CODE + 0xffd, assemble('movabs $0x8877665544332211,%rax; nop'))
  b.jump(CODE + 0xffd)
  expect(b.cpu.instruction()).toMatchObject({ address: CODE + 0xffd, length: 10, mnemonic: 'movabs' })
  b.jump(0x10_0000)
  expect(b.cpu.instruction()).toBeUndefined()
})
