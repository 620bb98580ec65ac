import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR0, CR4, VECTOR } from '../../../../src/x86/index.ts'
import { CODE, CpuBench, DATA } from '../../../support/cpu.ts'

const SYSCALL = 'syscall'
const ADDSD = 'addsd %xmm1,%xmm0'
const PADDB = 'paddb %mm1,%mm0'
const FLD1 = 'fld1'
const WAIT = 'fwait'
const FXSAVE = 'fxsave (%rdi)'

/** Byte offsets in an FXSAVE image. */
const FX = { control: 0, status: 2, tags: 4, mxcsr: 24, st0: 32, xmm0: 160, xmm1: 176 } as const

const image = (b: CpuBench): DataView => new DataView(b.cpu.saveFpu().buffer)

/** A bench whose floating-point state is what `change` makes of the one after reset. */
function bench(change: (view: DataView) => void = () => {}): CpuBench {
  const b = new CpuBench()
  b.set('rdi', DATA)
  const fpu = b.cpu.saveFpu()
  change(new DataView(fpu.buffer))
  b.cpu.loadFpu(fpu)
  return b
}

/** Clears and sets bits of a control register. */
function control(b: CpuBench, index: 0 | 4, bits: { clear?: number; set?: number }): void {
  const { registers } = b.cpu
  const value = ((registers.controlLow(index) & ~(bits.clear ?? 0)) | (bits.set ?? 0)) >>> 0
  registers.setControl(index, value, 0)
}

describe('what control registers refuse', () => {
  const cases: readonly [string, { cr: 0 | 4; clear?: number; set?: number }, string, number | undefined][] = [
    ['SSE while the unit is switched away', { cr: 0, set: CR0.TS }, ADDSD, VECTOR.NM],
    ['MMX while the unit is switched away', { cr: 0, set: CR0.TS }, PADDB, VECTOR.NM],
    ['x87 while the unit is switched away', { cr: 0, set: CR0.TS }, FLD1, VECTOR.NM],
    ['FXSAVE while the unit is switched away', { cr: 0, set: CR0.TS }, FXSAVE, VECTOR.NM],
    ['WAIT while the unit is switched away and monitored', { cr: 0, set: CR0.TS | CR0.MP }, WAIT, VECTOR.NM],
    ['WAIT while the unit is switched away but not monitored', { cr: 0, set: CR0.TS, clear: CR0.MP }, WAIT, undefined],
    ['SSE without a unit', { cr: 0, set: CR0.EM }, ADDSD, VECTOR.UD],
    ['MMX without a unit', { cr: 0, set: CR0.EM }, PADDB, VECTOR.UD],
    ['x87 without a unit', { cr: 0, set: CR0.EM }, FLD1, VECTOR.NM],
    ['SSE under a system that does not know it', { cr: 4, clear: CR4.OSFXSR }, ADDSD, VECTOR.UD],
    ['MMX under such a system', { cr: 4, clear: CR4.OSFXSR }, PADDB, undefined],
    ['CRC32 while the unit is switched away', { cr: 0, set: CR0.TS }, 'crc32q %rcx,%rax', undefined],
  ]
  test.each(cases)('%s', (_, { cr, ...bits }, code, vector) => {
    const b = bench()
    control(b, cr, bits)
    expect(b.run(`${code}; ${SYSCALL}`)).toBe(vector === undefined ? EXIT.SYSCALL : EXIT.EXCEPTION)
    if (vector !== undefined) expect([b.cpu.exit.vector, b.cpu.registers.rip()]).toEqual([vector, CODE])
  })

  test('the same code runs as soon as the unit is given back', () => {
    const b = bench()
    control(b, 0, { set: CR0.TS })
    expect(b.run(`${ADDSD}; ${SYSCALL}`)).toBe(EXIT.EXCEPTION)
    control(b, 0, { clear: CR0.TS })
    expect(b.cpu.run(100)).toBe(EXIT.SYSCALL)
  })
})

describe('exceptions of SSE', () => {
  const unmasked = (view: DataView): void => {
    view.setUint32(FX.mxcsr, 0x1f80 & ~0x200, true)
    view.setFloat64(FX.xmm0, 1, true)
  }
  const DIVSD = 'divsd %xmm1,%xmm0'

  test('an unmasked division by zero raises #XM, notes its flag and leaves the destination', () => {
    const b = bench(unmasked)
    expect(b.run(`${DIVSD}; ${SYSCALL}`)).toBe(EXIT.EXCEPTION)
    expect(b.cpu.exit.vector).toBe(VECTOR.XM)
    expect(image(b).getUint32(FX.mxcsr, true) & 0x3f).toBe(0x04)
    expect(image(b).getFloat64(FX.xmm0, true)).toBe(1)
  })

  test('under a system that does not handle #XM it is an invalid opcode', () => {
    const b = bench(unmasked)
    control(b, 4, { clear: CR4.OSXMMEXCPT })
    expect(b.run(`${DIVSD}; ${SYSCALL}`)).toBe(EXIT.EXCEPTION)
    expect(b.cpu.exit.vector).toBe(VECTOR.UD)
  })

  test('masked, it gives infinity and goes on', () => {
    const b = bench((view) => view.setFloat64(FX.xmm0, -1, true))
    expect(b.run(`${DIVSD}; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(image(b).getFloat64(FX.xmm0, true)).toBe(-Infinity)
  })
})

describe('flags of SSE are noted on the fast path as off it', () => {
  // The first inexact sum goes by soft-float, which notes PRECISION; the second may take the fast path.
  test.each([[0x1f80, 'nothing noted yet'], [0x1fa0, 'PRECISION noted']] as const)('from MXCSR %i: %s', (mxcsr, _) => {
    const b = bench((view) => {
      view.setUint32(FX.mxcsr, mxcsr, true)
      view.setFloat64(FX.xmm0, 0.1, true)
      view.setFloat64(FX.xmm1, 0.2, true)
    })
    b.run(`${ADDSD}; ${SYSCALL}`)
    expect(image(b).getFloat64(FX.xmm0, true)).toBe(0.1 + 0.2)
    expect(image(b).getUint32(FX.mxcsr, true)).toBe(0x1fa0)
  })

  test('an exact sum notes nothing', () => {
    const b = bench((view) => {
      view.setFloat64(FX.xmm0, 1.5, true)
      view.setFloat64(FX.xmm1, 0.25, true)
    })
    b.run(`${ADDSD}; ${SYSCALL}`)
    expect([image(b).getFloat64(FX.xmm0, true), image(b).getUint32(FX.mxcsr, true)]).toEqual([1.75, 0x1f80])
  })

  const edges: readonly [string, number, number, number, number][] = [
    ['a denormal operand', 2 ** -1060, 1, 1, 0x22],
    ['an overflow', Number.MAX_VALUE, Number.MAX_VALUE, Infinity, 0x28],
    ['an invalid sum', Infinity, -Infinity, NaN, 0x21],
    ['a sum that cancels', 3, -3, 0, 0x20],
  ]
  test.each(edges)('with PRECISION noted, %s', (_, first, second, sum, flags) => {
    const b = bench((view) => {
      view.setUint32(FX.mxcsr, 0x1fa0, true)
      view.setFloat64(FX.xmm0, first, true)
      view.setFloat64(FX.xmm1, second, true)
    })
    b.run(`${ADDSD}; ${SYSCALL}`)
    expect([image(b).getFloat64(FX.xmm0, true), image(b).getUint32(FX.mxcsr, true) & 0x3f]).toEqual([sum, flags])
  })

  test.each([[0, 0.1 + 0.2], [1, 0.3], [2, 0.1 + 0.2], [3, 0.3]])('rounding mode %i is followed', (mode, sum) => {
    const b = bench((view) => {
      view.setUint32(FX.mxcsr, 0x1fa0 | (mode << 13), true)
      view.setFloat64(FX.xmm0, 0.1, true)
      view.setFloat64(FX.xmm1, 0.2, true)
    })
    b.run(`${ADDSD}; ${SYSCALL}`)
    expect(image(b).getFloat64(FX.xmm0, true)).toBe(sum)
  })
})

describe('memory operands of 128 bits', () => {
  test.each([
    ['MOVAPS', 'movaps (%rdi),%xmm0', true], ['MOVUPS', 'movups (%rdi),%xmm0', false], ['PXOR', 'pxor (%rdi),%xmm0', true], ['LDDQU', 'lddqu (%rdi),%xmm0', false],
  ])('%s at an odd address', (_, code, faults) => {
    const b = bench()
    b.set('rdi', DATA + 8)
    expect(b.run(`${code}; ${SYSCALL}`)).toBe(faults ? EXIT.EXCEPTION : EXIT.SYSCALL)
    if (faults) expect([b.cpu.exit.vector, b.cpu.exit.errorCode]).toEqual([VECTOR.GP, 0])
  })

  test('a load over the end of a page takes from both pages', () => {
    const b = bench()
    const bytes = Array.from({ length: 16 }, (_, i) => i + 1)
    b.write(DATA + 4090, bytes)
    b.set('rdi', DATA + 4090)
    expect(b.run(`movups (%rdi),%xmm0; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect([...b.cpu.saveFpu().subarray(FX.xmm0, FX.xmm0 + 16)]).toEqual(bytes)
  })
})

describe('x87', () => {
  test('an unmasked exception is pending until the next instruction that waits', () => {
    // fldcw [rdi]; fldz; fld1; fdiv st,st(1); nop; fld1
    const b = bench()
    b.write(DATA, [0x7b, 0x03])
    expect(b.run(`fldcw (%rdi); fldz; fld1; fdiv %st(1),%st; nop; fld1; ${SYSCALL}`)).toBe(EXIT.EXCEPTION)
    expect([b.cpu.exit.vector, b.cpu.registers.rip()]).toEqual([VECTOR.MF, CODE + 9])
    expect(image(b).getUint16(FX.status, true) & 0x8084).toBe(0x8084)
  })

  test('instructions of control do not wait', () => {
    const b = bench()
    b.write(DATA, [0x7b, 0x03])
    expect(b.run(`fldcw (%rdi); fldz; fld1; fdiv %st(1),%st; fnstsw %ax; fnclex; fld1; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(Number(b.get('rax')) & 0x84).toBe(0x84)
  })

  test('pi keeps 64 bits through memory in the 80-bit format', () => {
    // fldpi; fstp tbyte [rdi]; fld tbyte [rdi]
    const b = bench()
    expect(b.run(`fldpi; fstpt (%rdi); fldt (%rdi); ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(Buffer.from(b.read(DATA, 10)).toString('hex')).toBe('35c26821a2da0fc90040')
    expect(Buffer.from(b.cpu.saveFpu().subarray(FX.st0, FX.st0 + 10)).toString('hex')).toBe('35c26821a2da0fc90040')
  })

  test('an MMX instruction takes over the registers, EMMS gives them back empty', () => {
    const b = bench()
    expect(b.run(`fld1; ${PADDB}; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect([image(b).getUint8(FX.tags), image(b).getUint16(FX.status, true) & 0x3800]).toEqual([0xff, 0])
    expect(image(b).getUint16(FX.st0 + 8, true)).toBe(0xffff)
    b.run(`emms; ${SYSCALL}`)
    expect(image(b).getUint8(FX.tags)).toBe(0)
  })

  test('a ninth value overflows the stack', () => {
    const b = bench()
    expect(b.run(`${`${FLD1};`.repeat(9)} ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect(image(b).getUint16(FX.status, true) & 0x241).toBe(0x241)
    expect(image(b).getUint16(FX.st0 + 8, true)).toBe(0xffff)
  })
})

describe('FXSAVE and FXRSTOR', () => {
  test('carry the whole state, and the reserved bytes stay as they were', () => {
    const b = bench((view) => {
      view.setUint32(FX.mxcsr, 0x9fc0, true)
      for (let i = 0; i < 256; i += 1) view.setUint8(FX.xmm0 + i, i)
    })
    b.write(DATA + 416, new Array(96).fill(0xaa))
    expect(b.run(`fldpi; fld1; ${FXSAVE}; ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    const saved = b.cpu.saveFpu()
    expect([...b.read(DATA + 416, 96)]).toEqual(new Array(96).fill(0xaa))
    expect([...b.read(DATA, 416)]).toEqual([...saved.subarray(0, 416)])
    // fninit; pxor xmm3,xmm3; fxrstor [rdi]
    expect(b.run(`fninit; pxor %xmm3,%xmm3; fxrstor (%rdi); ${SYSCALL}`)).toBe(EXIT.SYSCALL)
    expect([...b.cpu.saveFpu()]).toEqual([...saved])
  })

  test('reserved bits of MXCSR are refused and nothing is loaded', () => {
    const b = bench()
    b.write(DATA + FX.mxcsr, [0x80, 0x1f, 0x01, 0x00])
    expect(b.run(`fxrstor (%rdi); ${SYSCALL}`)).toBe(EXIT.EXCEPTION)
    expect(b.cpu.exit.vector).toBe(VECTOR.GP)
    expect(image(b).getUint16(FX.control, true)).toBe(0x37f)
  })
})
