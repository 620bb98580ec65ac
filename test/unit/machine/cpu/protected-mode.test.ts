import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import type { SegmentState } from '../../../../src/machine/index.ts'
import { SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { AT, BareBench, SELECTOR } from '../../../support/bare.ts'
import { hexBytes } from '../../../support/cpu.ts'
import { PLACE, ProtectedBench } from '../../../support/protected.ts'

/** Descriptor attributes of ring 0: 32-bit code and data, 16-bit ones, and some types. */
const TYPE = {
  code: 0xc09b, code16: 0x009b, data: 0xc093, data16: 0x0093, readOnly: 0xc091, expandDown: 0xc097, expandDown16: 0x97,
  executeOnly: 0xc099,
} as const
const segment = (attributes: number, base: number, limit: number): SegmentState =>
  ({ selector: 0x10, baseLow: base, baseHigh: 0, limit, attributes })
const little = (value: number, bytes = 4): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (i * 8)) & 0xff).toString(16).padStart(2, '0')).join('')

describe('accesses through a segment', () => {
  const D = PLACE.DATA
  /** Name, DS, instruction at DS:offset, expected: nothing, or the fault's vector. */
  const cases: readonly [string, SegmentState, string, number | undefined][] = [
    ['the base is added', segment(TYPE.data, D, 0xfff), `a1${little(0x10)}`, undefined],
    ['the last byte inside the limit', segment(TYPE.data, D, 0xfff), `a0${little(0xfff)}`, undefined],
    ['a word whose last byte lies behind the limit', segment(TYPE.data, D, 0xfff), `a1${little(0xffd)}`, VECTOR.GP],
    ['an offset that wraps', segment(TYPE.data, D, 0xfff), `a1${little(-2)}`, VECTOR.GP],
    ['a store to a read-only segment', segment(TYPE.readOnly, D, 0xfff), `a3${little(0)}`, VECTOR.GP],
    ['a load from it', segment(TYPE.readOnly, D, 0xfff), `a1${little(0)}`, undefined],
    ['a load from code that may only be executed', segment(TYPE.executeOnly, D, 0xfff), `a1${little(0)}`, VECTOR.GP],
    ['a load from readable code', segment(TYPE.code, D, 0xfff), `a1${little(0)}`, undefined],
    ['a store to code', segment(TYPE.code, D, 0xfff), `a3${little(0)}`, VECTOR.GP],
    ['below the limit of an expand-down segment', segment(TYPE.expandDown, D, 0xfff), `a1${little(0xffd)}`, VECTOR.GP],
    ['above it', segment(TYPE.expandDown, D, 0xfff), `a1${little(0x1000)}`, undefined],
    ['above 64 KiB in a 16-bit one', segment(TYPE.expandDown16, D - 0x8000, 0xfff), `a1${little(0xfffd)}`, VECTOR.GP],
    ['up to there', segment(TYPE.expandDown16, D - 0x8000, 0xfff), `a1${little(0xfffc)}`, undefined],
    ['a segment without a descriptor', segment(0, 0, 0), `a1${little(D)}`, VECTOR.GP],
    ['a read-modify-write behind the limit', segment(TYPE.data, D, 3), `8305${little(1)}01`, VECTOR.GP],
    ['a vector that is not aligned counts before the limit', segment(TYPE.data, D, 3), `0f2805${little(4)}`, VECTOR.GP],
  ]
  test.each(cases)('%s', (_, ds, code, vector) => {
    const b = new ProtectedBench()
    b.cpu.registers.setSegment(SEGMENT.ds, ds)
    expect(b.run(`${code}f4`)).toBe(EXIT.HALT)
    expect(b.handled).toBe(vector ?? -1)
    if (vector !== undefined) expect([b.read32(b.get('rsp')), b.read32(b.get('rsp') + 4)]).toEqual([0, PLACE.CODE])
  })

  test('flat code may not write through CS, and FS without a descriptor is refused', () => {
    const b = new ProtectedBench()
    b.run(`2ea3${little(D)}f4`)
    expect(b.handled).toBe(VECTOR.GP)
    b.ring(0)
    b.run(`64a1${little(D)}f4`)
    expect(b.handled).toBe(VECTOR.GP)
  })

  test('the stack segment raises #SS, also for what addresses by EBP', () => {
    for (const code of ['50', '58', '8b4500', 'c3', 'c9', '60', '9c', 'c8000001']) {
      const b = new ProtectedBench()
      b.set('rsp', 0x2000)
      b.set('rbp', 0x2000)
      b.cpu.registers.setSegment(SEGMENT.ss, { ...segment(TYPE.data, PLACE.DATA, 0xfff), selector: 0 })
      // #SS itself needs a stack that can be written: a task's handler would have one, here it ends in a shutdown.
      expect([code, b.run(`${code}f4`)]).toEqual([code, EXIT.SHUTDOWN])
    }
  })

  test.each([
    ['mov %ss:(%ecx),%eax', '368b01', VECTOR.SS], ['mov (%ecx),%eax', '8b01', VECTOR.GP], ['mov %ds:(%ebp),%eax', '3e8b4500', VECTOR.GP],
    ['mov (%ebp),%eax', '8b4500', VECTOR.SS], ['fbld %ss:(%ecx)', '36df21', VECTOR.SS], ['arpl %ax,(%ebp)', '634500', VECTOR.SS],
    ['arpl %ax,(%ecx)', '6301', VECTOR.GP], ['arpl %ax,%ss:(%ecx)', '366301', VECTOR.SS], ['lods %ss:(%esi)', '36ad', VECTOR.SS],
    ['movs %ss:(%esi),%es:(%edi)', '36a5', VECTOR.SS], ['stos %es:(%edi), whose override says nothing', '36ab', VECTOR.GP],
  ])('%s beyond 4 GiB in flat code', (_what, code, vector) => {
    const b = new ProtectedBench()
    for (const register of ['rcx', 'rbp', 'rsi', 'rdi'] as const) b.set(register, 0xffff_ffff)
    b.run(`${code}f4`)
    expect(b.handled).toBe(vector)
  })

  test('a repetition that leaves its segment has done what it could', () => {
    const b = new ProtectedBench()
    b.cpu.registers.setSegment(SEGMENT.es, segment(TYPE.data, PLACE.DATA, 9))
    b.set('rcx', 100)
    b.set('rax', 0x41)
    b.set('rdi', 4)
    b.run('fcf3aaf4')
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
  const start = (b: ProtectedBench, hex: string, budget = 1000): number => {
    b.write(PLACE.CODE, hexBytes(hex))
    b.cpu.registers.setRip(0x100, 0)
    return b.cpu.run(budget)
  }

  test('EIP counts from the base: what CALL pushes, what jumps go to, what registers tell', () => {
    const b = inSegment(TYPE.code, 0xffff)
    // call F; F: pop eax; mov ebx,120; jmp ebx; ... at 120: hlt
    b.write(PLACE.CODE + 0x20, [0xf4])
    expect(start(b, `e800000000 58 bb${little(0x120)} ffe3`)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.cpu.registers.rip()]).toEqual([0x105, 0x121])
  })

  test('a jump behind the limit faults itself, running over it faults there', () => {
    const jump = inSegment(TYPE.code, 0x10f)
    start(jump, 'eb20')
    expect([jump.handled, jump.read32(jump.get('rsp') + 4)]).toEqual([VECTOR.GP, 0x100])
    const straight = inSegment(TYPE.code, 0x103)
    start(straight, '9090 9090 9090')
    expect([straight.handled, straight.read32(straight.get('rsp') + 4)]).toEqual([VECTOR.GP, 0x104])
    // The last instruction begins inside: mov eax,imm32.
    const over = inSegment(TYPE.code, 0x103)
    start(over, '90 90 b801000000')
    expect([over.handled, over.read32(over.get('rsp') + 4)]).toEqual([VECTOR.GP, 0x102])
  })

  test('16-bit code has 16-bit operands and addresses, prefixes make them 32', () => {
    const b = inSegment(TYPE.code16, 0xffff)
    b.write32(PLACE.DATA, 0x8765_4321)
    b.cpu.registers.setSegment(SEGMENT.ds, segment(TYPE.data16, PLACE.DATA, 0xffff))
    b.set('rbx', 0xffff_0000)
    b.set('rsi', 0xffff_0000)
    // mov ax,[bx+si]; mov ecx,[bx+si]; mov dx,[esi+10000]; hlt
    start(b, `8b00 668b08 678b96${little(0x1_0000)} f4`)
    expect([b.get('rax') & 0xffff, b.get('rcx'), b.get('rdx') & 0xffff]).toEqual([0x4321, 0x8765_4321, 0x4321])
  })

  test('a 16-bit stack wraps in 64 KiB and keeps the upper half of ESP', () => {
    const b = inSegment(TYPE.code, 0xffff)
    b.cpu.registers.setSegment(SEGMENT.ss, segment(TYPE.data16, PLACE.DATA, 0xffff))
    b.set('rsp', 0x1234_0000)
    // push 11223344; hlt
    start(b, `68${little(0x1122_3344)} f4`)
    expect([b.get('rsp'), b.read32(PLACE.DATA + 0xfffc)]).toEqual([0x1234_fffc, 0x1122_3344])
  })

  test('in pieces of any size the same program does the same', () => {
    // xor eax,eax; L: inc eax; push eax; pop edx; add ebx,edx; mov [esi],ebx; loop L; hlt
    const LOOP = '31c0 40 50 5a 01d3 891e e2f7 f4'
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
    const CODE = '31c0 40 40 40 f4'
    const b = inSegment(TYPE.code, 0xffff)
    start(b, CODE, 2)
    const saved = JSON.parse(JSON.stringify(b.cpu.save())) as ReturnType<typeof b.cpu.save>
    const other = new ProtectedBench()
    other.write(PLACE.CODE, hexBytes(CODE))
    other.cpu.load(saved)
    expect(other.cpu.registers.rip()).toBe(0x103)
    expect(other.cpu.run(1000)).toBe(EXIT.HALT)
    expect([other.get('rax'), other.cpu.registers.rip()]).toEqual([3, 0x106])
  })
})

describe('between 64-bit and 32-bit code', () => {
  /** A far pointer at DATA to `offset` in a segment. */
  const pointer = (b: BareBench, at: number, offset: number, selector: number): void => {
    b.write(at, hexBytes(little(offset) + little(selector, 2)))
  }

  test('a far jump leads to compatibility mode and back, where 40 is an instruction and not a prefix', () => {
    const b = new BareBench()
    pointer(b, AT.DATA, AT.CODE + 0x40, SELECTOR.CODE0_32)
    // inc eax; inc eax; jmp far 08:CODE+80
    b.write(AT.CODE + 0x40, hexBytes(`40 40 ea${little(AT.CODE + 0x80)}${little(SELECTOR.CODE0, 2)}`))
    // 64-bit again: lea rbx,[rip]; hlt
    b.write(AT.CODE + 0x80, hexBytes('488d1d00000000 f4'))
    // mov ds,10; mov es,10; mov eax,5; jmp far [DATA]
    expect(b.run(`66b81000 8ed8 8ec0 b805000000 ff2c25${little(AT.DATA)}`)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.get('rbx')]).toEqual([7, AT.CODE + 0x87])
  })

  test('upper halves of registers survive where 32-bit code does not write them', () => {
    const b = new BareBench()
    pointer(b, AT.DATA, AT.CODE + 0x40, SELECTOR.CODE0_32)
    b.write(AT.CODE + 0x40, hexBytes(`41 ea${little(AT.CODE + 0x80)}${little(SELECTOR.CODE0, 2)}`))
    b.write(AT.CODE + 0x80, [0xf4])
    b.set('rdx', 0x12_0000_0034)
    b.set('rcx', 0x56_0000_0078)
    b.run(`ff2c25${little(AT.DATA)}`)
    expect([b.get('rdx'), b.get('rcx')]).toEqual([0x12_0000_0034, 0x79])
  })
})

describe('instructions that 64-bit mode has no more', () => {
  const [FIRST, SECOND] = [little(PLACE.DATA), little(PLACE.DATA + 4)]
  const programs: readonly [string, string, number][] = [
    ['PUSHA and POPA carry all registers', 'b807000000 60 31c0 61 f4', 7],
    ['AAM divides, AAD multiplies back', 'b84b000000 d40a d50a f4', 0x4b],
    ['DAA corrects packed decimals', 'b019 0428 27 f4', 0x47],
    ['SALC spreads the carry', '31c0 f9 d6 f4', 0xff],
    ['PUSH and POP of a segment register', '31c0 1e 58 f4', 0x10],
    ['82 is 80 again', '31c0 820005 b005 f4', 5],
    ['LOOP counts CX with short addresses', `b90200ffff 31c0 40 67e2fc f4`, 2],
    ['INTO goes on without overflow', '31c0 40 ce 40 f4', 2],
    ['BOUND goes on inside its bounds', `c705${FIRST}${little(-1)} c705${SECOND}${little(5)} b805000000 6205${FIRST} f4`, 5],
    ['LES loads a pointer', `c705${FIRST}${little(0x77)} c705${SECOND}${little(0x10)} c405${FIRST} f4`, 0x77],
  ]
  test.each(programs)('%s', (_, code, result) => {
    const b = new ProtectedBench()
    b.set('rax', PLACE.DATA)
    expect(b.run(code)).toBe(EXIT.HALT)
    expect([b.handled, b.get('rax') & 0xffff]).toEqual([-1, result])
  })

  test('BOUND outside raises #BR, INTO after an overflow #OF', () => {
    const b = new ProtectedBench()
    b.run(`b806000000 6205${little(PLACE.DATA)} f4`)
    expect(b.handled).toBe(VECTOR.BR)
    b.ring(0)
    b.run('b07f 0401 ce f4')
    expect(b.handled).toBe(VECTOR.OF)
  })
})
