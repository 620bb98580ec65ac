import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import type { SegmentState } from '../../../../src/machine/index.ts'
import { CR4, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { AT, BareBench, SELECTOR } from '../../../support/bare.ts'
import { PLACE, ProtectedBench } from '../../../support/protected.ts'

/** Descriptor attributes of ring 0: 32-bit code and data, 16-bit ones, and some types. */
const TYPE = {
  code: 0xc09b, code16: 0x009b, data: 0xc093, data16: 0x0093, readOnly: 0xc091, expandDown: 0xc097, expandDown16: 0x97,
  executeOnly: 0xc099,
} as const
const segment = (attributes: number, base: number, limit: number): SegmentState =>
  ({ selector: 0x10, baseLow: base, baseHigh: 0, limit, attributes })

describe('accesses through a segment', () => {
  const D = PLACE.DATA
  /** Name, DS, instruction at DS:offset, expected: nothing, or the fault's vector. */
  const cases: readonly [string, SegmentState, string, number | undefined][] = [
    ['the base is added', segment(TYPE.data, D, 0xfff), 'mov 0x10,%eax', undefined],
    ['the last byte inside the limit', segment(TYPE.data, D, 0xfff), 'mov 0xfff,%al', undefined],
    ['a word whose last byte lies behind the limit', segment(TYPE.data, D, 0xfff), 'mov 0xffd,%eax', VECTOR.GP],
    ['an offset that wraps', segment(TYPE.data, D, 0xfff), `mov -2,%eax`, VECTOR.GP],
    ['a store to a read-only segment', segment(TYPE.readOnly, D, 0xfff), 'mov %eax,0', VECTOR.GP],
    ['a load from it', segment(TYPE.readOnly, D, 0xfff), 'mov 0,%eax', undefined],
    ['a load from code that may only be executed', segment(TYPE.executeOnly, D, 0xfff), 'mov 0,%eax', VECTOR.GP],
    ['a load from readable code', segment(TYPE.code, D, 0xfff), 'mov 0,%eax', undefined],
    ['a store to code', segment(TYPE.code, D, 0xfff), 'mov %eax,0', VECTOR.GP],
    ['below the limit of an expand-down segment', segment(TYPE.expandDown, D, 0xfff), 'mov 0xffd,%eax', VECTOR.GP],
    ['above it', segment(TYPE.expandDown, D, 0xfff), 'mov 0x1000,%eax', undefined],
    ['above 64 KiB in a 16-bit one', segment(TYPE.expandDown16, D - 0x8000, 0xfff), 'mov 0xfffd,%eax', VECTOR.GP],
    ['up to there', segment(TYPE.expandDown16, D - 0x8000, 0xfff), 'mov 0xfffc,%eax', undefined],
    ['a segment without a descriptor', segment(0, 0, 0), `mov ${D},%eax`, VECTOR.GP],
    ['a read-modify-write behind the limit', segment(TYPE.data, D, 3), 'addl $1,1', VECTOR.GP],
    ['a vector that is not aligned counts before the limit', segment(TYPE.data, D, 3), 'movaps 4,%xmm0', VECTOR.GP],
  ]
  test.each(cases)('%s', (_, ds, code, vector) => {
    const b = new ProtectedBench()
    b.cpu.registers.setSegment(SEGMENT.ds, ds)
    expect(b.run(`${code}; hlt`)).toBe(EXIT.HALT)
    expect(b.handled).toBe(vector ?? -1)
    if (vector !== undefined) expect([b.read32(b.get('rsp')), b.read32(b.get('rsp') + 4)]).toEqual([0, PLACE.CODE])
  })

  test('flat code may not write through CS, and FS without a descriptor is refused', () => {
    const b = new ProtectedBench()
    b.run(`mov %eax,%cs:${D}; hlt`)
    expect(b.handled).toBe(VECTOR.GP)
    b.ring(0)
    b.run(`mov %fs:${D},%eax; hlt`)
    expect(b.handled).toBe(VECTOR.GP)
  })

  test.each([
    ['movaps 8(%ebp),%xmm0', 'movaps 8(%ebp),%xmm0', VECTOR.GP], ['movaps 0x20(%ebp),%xmm0', 'movaps 0x20(%ebp),%xmm0', VECTOR.SS],
    ['vmovapd 0x10(%ebp),%ymm0', '.byte 0xc5,0xfd,0x28,0x45,0x10', VECTOR.GP], ['vmovapd 0x20(%ebp),%ymm0', '.byte 0xc5,0xfd,0x28,0x45,0x20', VECTOR.SS],
  ])('%s in a stack segment of 32 bytes: alignment counts before the limit', (_, code, vector) => {
    const b = new ProtectedBench()
    const { registers } = b.cpu
    registers.setControl(4, (registers.controlLow(4) | CR4.OSXSAVE) >>> 0, 0)
    registers.setXcr0(7)
    b.set('rbp', 0)
    registers.setSegment(SEGMENT.ss, { ...segment(TYPE.data, D, 0x1f), selector: 0 })
    const raised: number[] = []
    b.cpu.trace({ exception: (event) => void raised.push(event.vector) })
    b.run(`${code}; hlt`)
    expect(raised[0]).toBe(vector)
  })

  test('the stack segment raises #SS, also for what addresses by EBP', () => {
    for (const code of ['push %eax', 'pop %eax', 'mov 0x0(%ebp),%eax', 'ret', 'leave', 'pusha', 'pushf', 'enter $0,$1']) {
      const b = new ProtectedBench()
      b.set('rsp', 0x2000)
      b.set('rbp', 0x2000)
      b.cpu.registers.setSegment(SEGMENT.ss, { ...segment(TYPE.data, PLACE.DATA, 0xfff), selector: 0 })
      // #SS itself needs a stack that can be written: a task's handler would have one, here it ends in a shutdown.
      expect([code, b.run(`${code}; hlt`)]).toEqual([code, EXIT.SHUTDOWN])
    }
  })

  test.each([
    ['mov %ss:(%ecx),%eax', 'mov %ss:(%ecx),%eax', VECTOR.SS], ['mov (%ecx),%eax', 'mov (%ecx),%eax', VECTOR.GP], ['mov %ds:(%ebp),%eax', 'mov %ds:0x0(%ebp),%eax', VECTOR.GP],
    ['mov (%ebp),%eax', 'mov 0x0(%ebp),%eax', VECTOR.SS], ['fbld %ss:(%ecx)', 'fbld %ss:(%ecx)', VECTOR.SS], ['arpl %ax,(%ebp)', 'arpl %ax,0x0(%ebp)', VECTOR.SS],
    ['arpl %ax,(%ecx)', 'arpl %ax,(%ecx)', VECTOR.GP], ['arpl %ax,%ss:(%ecx)', 'arpl %ax,%ss:(%ecx)', VECTOR.SS], ['lods %ss:(%esi)', 'lods %ss:(%esi),%eax', VECTOR.SS],
    ['movs %ss:(%esi),%es:(%edi)', 'movsl %ss:(%esi),%es:(%edi)', VECTOR.SS], ['stos %es:(%edi), whose override says nothing', 'ss stos %eax,%es:(%edi)', VECTOR.GP],
  ])('%s beyond 4 GiB in flat code', (_what, code, vector) => {
    const b = new ProtectedBench()
    for (const register of ['rcx', 'rbp', 'rsi', 'rdi'] as const) b.set(register, 0xffff_ffff)
    b.run(`${code}; hlt`)
    expect(b.handled).toBe(vector)
  })

  test('a repetition that leaves its segment has done what it could', () => {
    const b = new ProtectedBench()
    b.cpu.registers.setSegment(SEGMENT.es, segment(TYPE.data, PLACE.DATA, 9))
    b.set('rcx', 100)
    b.set('rax', 0x41)
    b.set('rdi', 4)
    b.run('cld; rep stos %al,%es:(%edi); hlt')
    expect([b.handled, b.get('rcx'), b.get('rdi')]).toEqual([VECTOR.GP, 94, 10])
    expect(b.read32(PLACE.DATA + 6)).toBe(0x4141_4141)
  })
})

describe('code in a segment of its own', () => {
  const inSegment = (attributes: number, limit: number): ProtectedBench => {
    const b = new ProtectedBench()
    b.cpu.registers.setSegment(SEGMENT.cs, { ...segment(attributes, PLACE.CODE - 0x100, limit), selector: 8 })
    return b
  }
  const start = (b: ProtectedBench, listing: string, budget = 1000): number => {
    b.write(PLACE.CODE, assemble(listing, { codeSize: 32, origin: 0x100 }))
    b.cpu.registers.setRip(0x100, 0)
    return b.cpu.run(budget)
  }

  test('EIP counts from the base: what CALL pushes, what jumps go to, what registers tell', () => {
    const b = inSegment(TYPE.code, 0xffff)
    b.write(PLACE.CODE + 0x20, [0xf4])
    expect(start(b, 'call 1f; 1: pop %eax; mov $0x120,%ebx; jmp *%ebx')).toBe(EXIT.HALT)
    expect([b.get('rax'), b.cpu.registers.rip()]).toEqual([0x105, 0x121])
  })

  test('a jump behind the limit faults itself, running over it faults there', () => {
    const jump = inSegment(TYPE.code, 0x10f)
    start(jump, 'jmp .+34')
    expect([jump.handled, jump.read32(jump.get('rsp') + 4)]).toEqual([VECTOR.GP, 0x100])
    const straight = inSegment(TYPE.code, 0x103)
    start(straight, 'nop; nop; nop; nop; nop; nop')
    expect([straight.handled, straight.read32(straight.get('rsp') + 4)]).toEqual([VECTOR.GP, 0x104])
    // The last instruction begins inside: mov eax,imm32.
    const over = inSegment(TYPE.code, 0x103)
    start(over, 'nop; nop; mov $1,%eax')
    expect([over.handled, over.read32(over.get('rsp') + 4)]).toEqual([VECTOR.GP, 0x102])
  })

  test('16-bit code has 16-bit operands and addresses, prefixes make them 32', () => {
    const b = inSegment(TYPE.code16, 0xffff)
    b.write32(PLACE.DATA, 0x8765_4321)
    b.cpu.registers.setSegment(SEGMENT.ds, segment(TYPE.data16, PLACE.DATA, 0xffff))
    b.set('rbx', 0xffff_0000)
    b.set('rsi', 0xffff_0000)
    b.write(PLACE.CODE, assemble('mov (%bx,%si),%ax; mov (%bx,%si),%ecx; mov 0x10000(%esi),%dx; hlt', { codeSize: 16 }))
    b.cpu.registers.setRip(0x100, 0)
    b.cpu.run(1000)
    expect([b.get('rax') & 0xffff, b.get('rcx'), b.get('rdx') & 0xffff]).toEqual([0x4321, 0x8765_4321, 0x4321])
  })

  test('a 16-bit stack wraps in 64 KiB and keeps the upper half of ESP', () => {
    const b = inSegment(TYPE.code, 0xffff)
    b.cpu.registers.setSegment(SEGMENT.ss, segment(TYPE.data16, PLACE.DATA, 0xffff))
    b.set('rsp', 0x1234_0000)
    start(b, 'push $0x11223344; hlt')
    expect([b.get('rsp'), b.read32(PLACE.DATA + 0xfffc)]).toEqual([0x1234_fffc, 0x1122_3344])
  })

  test('in pieces of any size the same program does the same', () => {
    const LOOP = 'xor %eax,%eax; 1: inc %eax; push %eax; pop %edx; add %edx,%ebx; mov %ebx,(%esi); loop 1b; hlt'
    const make = (): ProtectedBench => {
      const b = inSegment(TYPE.code, 0xffff)
      b.set('rcx', 60)
      b.set('rsi', PLACE.DATA)
      return b
    }
    const state = (b: ProtectedBench): number[] => [
      ...(['rax', 'rbx', 'rcx', 'rdx', 'rsp'] as const).map((name) => b.get(name)),
      b.cpu.registers.rip(), b.cpu.registers.flags(),
    ]
    const whole = make()
    start(whole, LOOP, 301)
    for (const piece of [1, 2, 3, 7, 50]) {
      const b = make()
      let done = 0
      start(b, LOOP, piece)
      for (done = b.cpu.executed; done < 301; done += b.cpu.executed) b.cpu.run(Math.min(piece, 301 - done))
      expect([done, ...state(b)]).toEqual([301, ...state(whole)])
    }
  })

  test('state survives saving and restoring in the middle', () => {
    const CODE = 'xor %eax,%eax; inc %eax; inc %eax; inc %eax; hlt'
    const b = inSegment(TYPE.code, 0xffff)
    start(b, CODE, 2)
    const saved = JSON.parse(JSON.stringify(b.cpu.save())) as ReturnType<typeof b.cpu.save>
    const other = new ProtectedBench()
    other.write(PLACE.CODE, assemble(CODE, { codeSize: 32 }))
    other.cpu.load(saved)
    expect(other.cpu.registers.rip()).toBe(0x103)
    expect(other.cpu.run(1000)).toBe(EXIT.HALT)
    expect([other.get('rax'), other.cpu.registers.rip()]).toEqual([3, 0x106])
  })
})

describe('between 64-bit and 32-bit code', () => {
  /** A far pointer at DATA to `offset` in a segment. */
  const pointer = (b: BareBench, at: number, offset: number, selector: number): void => {
    b.write(at, assemble(`.long ${offset}; .word ${selector}`))
  }

  test('a far jump leads to compatibility mode and back, where 40 is an instruction and not a prefix', () => {
    const b = new BareBench()
    pointer(b, AT.DATA, AT.CODE + 0x40, SELECTOR.CODE0_32)
    b.write(AT.CODE + 0x40, assemble(`inc %eax; inc %eax; ljmp $${SELECTOR.CODE0},$${AT.CODE + 0x80}`, { codeSize: 32 }))
    b.write(AT.CODE + 0x80, assemble('lea 0(%rip),%rbx; hlt'))
    expect(b.run(`mov $0x10,%ax; mov %eax,%ds; mov %eax,%es; mov $5,%eax; ljmp *${AT.DATA}`)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.get('rbx')]).toEqual([7, AT.CODE + 0x87])
  })

  test('upper halves of registers survive where 32-bit code does not write them', () => {
    const b = new BareBench()
    pointer(b, AT.DATA, AT.CODE + 0x40, SELECTOR.CODE0_32)
    b.write(AT.CODE + 0x40, assemble(`inc %ecx; ljmp $${SELECTOR.CODE0},$${AT.CODE + 0x80}`, { codeSize: 32 }))
    b.write(AT.CODE + 0x80, [0xf4])
    b.set('rdx', 0x12_0000_0034)
    b.set('rcx', 0x56_0000_0078)
    b.run(`ljmp *${AT.DATA}`)
    expect([b.get('rdx'), b.get('rcx')]).toEqual([0x12_0000_0034, 0x79])
  })
})

describe('instructions that 64-bit mode has no more', () => {
  const [FIRST, SECOND] = [PLACE.DATA, PLACE.DATA + 4]
  const programs: readonly [string, string, number][] = [
    ['PUSHA and POPA carry all registers', 'mov $7,%eax; pusha; xor %eax,%eax; popa; hlt', 7],
    ['AAM divides, AAD multiplies back', 'mov $0x4b,%eax; aam $10; aad $10; hlt', 0x4b],
    ['DAA corrects packed decimals', 'mov $25,%al; add $40,%al; daa; hlt', 0x47],
    ['SALC spreads the carry', 'xor %eax,%eax; stc; salc; hlt', 0xff],
    ['PUSH and POP of a segment register', 'xor %eax,%eax; push %ds; pop %eax; hlt', 0x10],
    ['82 is 80 again', 'xor %eax,%eax; .byte 0x82,0x00,0x05; mov $5,%al; hlt', 5],
    ['LOOP counts CX with short addresses', 'mov $0xffff0002,%ecx; xor %eax,%eax; 1: inc %eax; loopw 1b; hlt', 2],
    ['INTO goes on without overflow', 'xor %eax,%eax; inc %eax; into; inc %eax; hlt', 2],
    ['BOUND goes on inside its bounds', `movl $-1,${FIRST}; movl $5,${SECOND}; mov $5,%eax; bound %eax,${FIRST}; hlt`, 5],
    ['LES loads a pointer', `movl $0x77,${FIRST}; movl $0x10,${SECOND}; les ${FIRST},%eax; hlt`, 0x77],
  ]
  test.each(programs)('%s', (_, code, result) => {
    const b = new ProtectedBench()
    b.set('rax', PLACE.DATA)
    expect(b.run(code)).toBe(EXIT.HALT)
    expect([b.handled, b.get('rax') & 0xffff]).toEqual([-1, result])
  })

  test('BOUND outside raises #BR, INTO after an overflow #OF', () => {
    const b = new ProtectedBench()
    b.run(`mov $6,%eax; bound %eax,${PLACE.DATA}; hlt`)
    expect(b.handled).toBe(VECTOR.BR)
    b.ring(0)
    b.run('mov $0x7f,%al; add $1,%al; into; hlt')
    expect(b.handled).toBe(VECTOR.OF)
  })
})
