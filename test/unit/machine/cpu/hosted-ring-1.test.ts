import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import type { ProcessorState } from '../../../../src/machine/index.ts'
import { PAGE_FAULT, PTE, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { CODE, CpuBench, DATA, STACK_END } from '../../../support/cpu.ts'

/** Xen's flat segments for 32-bit guests, and some of a guest's own in the GDT: by selector without RPL. */
const TABLE: Readonly<Record<number, readonly [number, number]>> = {
  0xe018: [0xffff, 0x00cf_bb00], 0xe020: [0xffff, 0x00cf_b300], 0xe028: [0xffff, 0x00cf_fb00], 0xe030: [0xffff, 0x00cf_f300],
  // Ring 1 data from DATA on, 256 bytes; conforming code of ring 1; a call gate as Xen keeps it.
  0x08: [((DATA & 0xffff) << 16) | 0xff, 0x0040_b300 | (DATA >>> 16)], 0x10: [0xffff, 0x00cf_bf00], 0x18: [0xe018_0000, 0x0000_8c00],
}
const KERNEL_ONLY = PTE.PRESENT | PTE.WRITABLE

class Ring1 extends CpuBench {
  constructor() {
    super({
      kernelRing: 1,
      descriptors: {
        read: (selector, out) => {
          const words = TABLE[selector & 0xfff8]
          if (words !== undefined) out.set(words)
          return words !== undefined
        },
      },
    })
    for (const index of [SEGMENT.ds, SEGMENT.es]) this.cpu.registers.setSegment(index, { ...this.cpu.registers.segment(SEGMENT.ss) })
  }

  override run(listing: string, budget = 1000): number {
    this.write(CODE, assemble(listing, { origin: CODE, codeSize: 32 }))
    this.jump(CODE)
    return this.cpu.run(budget)
  }

  get fault(): readonly number[] {
    const { vector, errorCode, address } = this.cpu.exit
    return [vector, errorCode, address]
  }
}

/** Goes to ring 3 at a label. */
const toUser = (label: string): string => `push $0xe033; push $${STACK_END - 64}; pushf; push $0xe02b; push $${label}; iret`

describe('a hosted processor whose kernel runs in ring 1', () => {
  test('starts in 32-bit code of ring 1', () => {
    const b = new Ring1()
    expect(b.run('mov $-1,%eax; inc %eax; push %cs; pop %ebx; int $0x82')).toBe(EXIT.INTERRUPT)
    expect([b.cpu.exit.vector, b.get('rax'), b.get('rbx'), b.cpu.registers.rip()]).toEqual([0x82, 0n, 0xe019n, CODE + 10])
  })

  test('reaches pages that its processes do not, but writes none that is read-only', () => {
    const b = new Ring1()
    b.map(DATA, KERNEL_ONLY)
    b.map(DATA + 4096, PTE.PRESENT)
    expect(b.run(`movl $7,${DATA}; mov %eax,${DATA + 4096}`)).toBe(EXIT.EXCEPTION)
    expect(b.fault).toEqual([VECTOR.PF, PAGE_FAULT.PRESENT | PAGE_FAULT.WRITE, DATA + 4096])
    expect(b.run(`${toUser('user')}; user: mov $0xe033,%eax; mov %eax,%ds; mov ${DATA},%eax`)).toBe(EXIT.EXCEPTION)
    expect(b.fault).toEqual([VECTOR.PF, PAGE_FAULT.PRESENT | PAGE_FAULT.USER, DATA])
    expect(b.cpu.registers.segment(SEGMENT.ss).selector).toBe(0xe033)
  })

  test('IRET to ring 3 takes the stack and empties segments of ring 1', () => {
    const b = new Ring1()
    expect(b.run(`${toUser('user')}; user: push %ds; pop %eax; int $0x80`)).toBe(EXIT.INTERRUPT)
    expect([b.get('rax'), b.get('rsp'), b.cpu.registers.segment(SEGMENT.cs).selector]).toEqual([0n, BigInt(STACK_END - 64), 0xe02b])
  })

  test.each([
    ['a stack of ring 3', 'mov $0xe033,%eax; mov %eax,%ss', VECTOR.GP, 0xe030],
    ['a jump to code of ring 3', 'ljmp $0xe02b,$0x400000', VECTOR.GP, 0xe028],
    ['a jump that asks for less than its ring', 'ljmp $0xe01b,$0x400000', VECTOR.GP, 0xe018],
    ['a call gate', 'lcall $0x1b,$0', VECTOR.GP, 0x18],
    ['SYSENTER, which such processors do not have in long mode', 'sysenter', VECTOR.UD, 0],
    ['beyond a limit', 'mov $9,%eax; mov %eax,%fs; mov %fs:0xfd,%eax', VECTOR.GP, 0],
  ])('%s faults', (_what, code, vector, errorCode) => {
    const b = new Ring1()
    expect(b.run(`${code}; int $0x82`)).toBe(EXIT.EXCEPTION)
    expect(b.fault.slice(0, 2)).toEqual([vector, errorCode])
  })

  test('conforming code may be reached with any RPL, and segments have bases', () => {
    const b = new Ring1()
    b.write(DATA + 16, [0x78, 0x56, 0x34, 0x12])
    expect(b.run('mov $9,%eax; mov %eax,%gs; mov %gs:16,%ebx; ljmp $0x13,$next; next: int $0x82')).toBe(EXIT.INTERRUPT)
    expect([b.get('rbx'), b.cpu.registers.segment(SEGMENT.cs).selector]).toEqual([0x12345678n, 0x11])
  })

  test.each(['cli', 'sti', 'mov %cr3,%eax', 'in $0x60,%al', 'rdmsr', 'cpuid', 'hlt'])('%s is left to the host', (code) => {
    expect(new Ring1().run(code)).toBe(EXIT.PRIVILEGED)
  })

  test('POPF and IRET leave the interrupt flag and the I/O privilege level as they are', () => {
    const b = new Ring1()
    b.run('push $0x3002; popf; pushf; pop %eax; push $0x3002; push %cs; push $next; iret; next: pushf; pop %ebx; int $0x82')
    expect([b.get('rax'), b.get('rbx')]).toEqual([0x202n, 0x202n])
  })

  test('a store aside in ring 1 reaches nothing, though the place could be written', () => {
    const b = new Ring1()
    b.map(DATA, KERNEL_ONLY)
    b.write(DATA + 8, [1, 0, 0, 0, 2, 0, 0, 0])
    b.run(`mov ${DATA + 8},%eax; incl ${DATA + 12}; int $0x82`)
    b.write(CODE, assemble(`movl $5,${DATA + 8}; int $0x82`, { codeSize: 32 }))
    b.jump(CODE)
    const entry = Uint32Array.of(1, 3)
    expect([b.cpu.storeAside(DATA + 8, entry), [...entry]]).toEqual([true, [5, 3]])
    expect([...b.read(DATA + 8, 8)]).toEqual([1, 0, 0, 0, 3, 0, 0, 0])
    expect(b.cpu.inspect().translations).toEqual([])
  })

  test('its state comes back, but not in ring 0 and not in 64-bit code', () => {
    const b = new Ring1()
    const state = b.cpu.save()
    const other = new Ring1()
    other.cpu.load(state)
    expect(other.cpu.save()).toEqual(state)
    const changed = (change: (segment: ProcessorState['segments'][number]) => object): ProcessorState =>
      ({ ...state, segments: state.segments.map((one, i) => (i === SEGMENT.cs || i === SEGMENT.ss ? { ...one, ...change(one) } : one)) })
    expect(() => other.cpu.load(changed(({ selector }) => ({ selector: selector & ~3 })))).toThrow('ring')
    expect(() => other.cpu.load(changed(({ attributes }) => ({ attributes: attributes | 0x2000 })))).toThrow('64-bit code')
    expect(() => new CpuBench().cpu.load(state)).toThrow('ring')
  })
})
