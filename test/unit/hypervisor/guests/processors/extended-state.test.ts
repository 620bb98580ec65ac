/** XSETBV of a PV kernel and the extended state that toolstacks carry, as Xen checks both. */
import { describe, expect, test } from 'vitest'
import { VECTOR } from '../../../../../src/x86/index.ts'
import { CodeGuest } from '../../../../support/code-guest.ts'

const OSXSAVE = 1 << 18
const ON = { context: { cr4: BigInt(OSXSAVE) } }
/** Sets XCR0, and has all of YMM0. */
const SETS_7 = 'xor %ecx,%ecx; xor %edx,%edx; mov $7,%eax; xsetbv; xgetbv; mov %rax,%rbx'

/** Where things are in what a toolstack is given: XCR0, all that it ever was; the area with what it holds, its form, YMM. */
const [XCR0, EVER, MXCSR, HOLDS, FORM, RESERVED, YMM0] = [0, 8, 16 + 24, 16 + 512, 16 + 520, 16 + 528, 16 + 576] as const

const stateOf = (guest: CodeGuest): Uint8Array => guest.hypervisor.getVcpuExtendedState(guest.domid, 0)

/** State that sets XCR0, with changes of single words. */
function state(xcr0: number, words: Readonly<Record<number, number>> = {}): Uint8Array {
  const bytes = new Uint8Array(16 + (xcr0 & 4 ? 832 : 576))
  const view = new DataView(bytes.buffer)
  for (const [at, word] of Object.entries({ [XCR0]: xcr0, [EVER]: xcr0, [MXCSR]: 0x1f80, ...words })) view.setUint32(Number(at), word, true)
  return bytes
}

describe('XSETBV of a PV kernel', () => {
  test('sets XCR0 where CR4.OSXSAVE is set, and CPUID then tells how much XSAVE writes', () => {
    const guest = new CodeGuest(ON).run(`${SETS_7}; mov $13,%eax; xor %ecx,%ecx; cpuid; mov %rbx,%rsi; mov $1,%eax; cpuid`)
    expect([guest.trapped, guest.get('rsi'), guest.get('rcx') >> 27n & 1n]).toEqual([-1, 832n, 1n])
  })

  test('is an invalid opcode where it is not', () => {
    expect(new CodeGuest().run(SETS_7).trapped).toBe(VECTOR.UD)
  })

  test.each([
    ['x87 off', 0, 6, 0], ['AVX without SSE', 0, 5, 0], ['what is not offered', 0, 0x207, 0], ['a bit above 32', 0, 7, 1], ['another register', 1, 7, 0],
  ])('is refused for %s', (_, ecx, eax, edx) => {
    const guest = new CodeGuest(ON).run(`mov $${ecx},%ecx; mov $${eax},%eax; mov $${edx},%edx; xsetbv`)
    expect(guest.trapped).toBe(VECTOR.GP)
  })

  test('is refused to a program', () => {
    expect(new CodeGuest({ ...ON, mode: 'user' }).run(SETS_7).trapped).toBe(VECTOR.GP)
  })

  test('is what AVX waits for', () => {
    expect(new CodeGuest(ON).run('.byte 0xc5,0xfc,0x28,0xc8').trapped).toBe(VECTOR.UD)
    expect(new CodeGuest(ON).run(`${SETS_7}; .byte 0xc5,0xfc,0x28,0xc8`).trapped).toBe(-1)
  })

  test('is not there on a processor of x86-64-v2', () => {
    const guest = new CodeGuest({ ...ON, cpu: 'x86-64-v2' })
    expect([guest.run(SETS_7).trapped, stateOf(guest).length, guest.hypervisor.offeredState(guest.domid)]).toEqual([VECTOR.UD, 0, 0])
  })
})

describe('the extended state of a PV vCPU', () => {
  test('is a header alone before its kernel has set XCR0', () => {
    expect(stateOf(new CodeGuest())).toEqual(new Uint8Array(16))
  })

  test('goes from one host to the next, with the upper halves of registers', () => {
    // vpcmpeqd %ymm0,%ymm0,%ymm0
    const from = new CodeGuest(ON).run(`${SETS_7}; .byte 0xc5,0xfd,0x76,0xc0`)
    const bytes = stateOf(from)
    expect([bytes.length, bytes[XCR0], bytes[EVER], bytes[HOLDS]! & 4]).toEqual([16 + 832, 7, 7, 4])
    expect([...bytes.subarray(YMM0, YMM0 + 17)]).toEqual([...Array<number>(16).fill(255), 0])
    const to = new CodeGuest(ON)
    to.hypervisor.setVcpuExtendedState(to.domid, 0, bytes)
    expect(stateOf(to)).toEqual(bytes)
    // vmovmskps %ymm0,%eax
    expect(to.run('.byte 0xc5,0xfc,0x50,0xc0').get('rax')).toBe(0xffn)
  })

  test.each([
    ['of no length', new Uint8Array(0), 'INVALID_ARGUMENT'],
    ['that ends before its area does', state(7).subarray(0, 700), 'INVALID_ARGUMENT'],
    ['of bits that are not offered', state(0x207), 'INVALID_ARGUMENT'],
    ['without x87', state(6), 'INVALID_ARGUMENT'],
    ['that holds what XCR0 never had', state(3, { [HOLDS]: 4 }), 'INVALID_ARGUMENT'],
    ['with an XCR0 that it never had', state(7, { [EVER]: 3 }), 'INVALID_ARGUMENT'],
    ['in the compacted form', state(7, { [FORM + 4]: 0x8000_0000 }), 'NOT_SUPPORTED'],
    ['with reserved bytes', state(7, { [RESERVED]: 1 }), 'INVALID_ARGUMENT'],
  ])('%s is refused, and changes nothing', (_, bytes, code) => {
    const guest = new CodeGuest(ON).run(SETS_7)
    const before = stateOf(guest)
    expect(() => guest.hypervisor.setVcpuExtendedState(guest.domid, 0, bytes)).toThrow(expect.objectContaining({ code }))
    expect(stateOf(guest)).toEqual(before)
  })

  test('has no bits in MXCSR that do not exist', () => {
    const guest = new CodeGuest(ON)
    guest.hypervisor.setVcpuExtendedState(guest.domid, 0, state(7, { [MXCSR]: 0xffff_1f80, [HOLDS]: 2 }))
    expect(new DataView(stateOf(guest).buffer).getUint32(MXCSR, true)).toBe(0x1f80)
  })
})
