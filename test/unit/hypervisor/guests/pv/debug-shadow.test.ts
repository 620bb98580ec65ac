import { describe, expect, test } from 'vitest'
import { FLAT } from '../../../../../src/abi/index.ts'
import { VECTOR } from '../../../../../src/x86/index.ts'
import { CodeGuest, PLACE } from '../../../../support/code-guest.ts'

/** Watches the data for reads and writes of two bytes: R/W 3, length 2, enabled. */
const WATCH = [BigInt(PLACE.DATA), 0n, 0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x7_0001n]

/** A guest that loads SS from watched memory, and then executes the code given. */
function behindLoadOfSs(code: string, mode: 'kernel' | 'user' = 'kernel'): CodeGuest {
  const guest = new CodeGuest({ mode, context: { debug: WATCH } })
  guest.write(PLACE.DATA, [FLAT.KERNEL_SS & 0xff, FLAT.KERNEL_SS >>> 8])
  guest.set('rsi', PLACE.DATA)
  return guest.run(`mov (%rsi),%ss; ${code}`)
}

/** DR6 as the guest would read it: bit 0 tells of the breakpoint. */
const told = (guest: CodeGuest): number => guest.processor.registers.debugLow(6) & 0xf

describe('a debug trap that MOV SS holds back', () => {
  test.each([['nop', 'nop', 3], ['cpuid', 'cpuid', 4], ['rdtsc', 'rdtsc', 4]])(
    'comes behind the next instruction, which the guest executes itself (%s)', (_, code, length) => {
      const guest = behindLoadOfSs(code)
      expect([guest.trapped, told(guest)]).toEqual([VECTOR.DB, 1])
      expect(guest.stack(3)[2]).toBe(BigInt(PLACE.CODE + length))
    })

  test('is dropped when the next instruction is a hypercall, as Xen drops what comes in its own entry', () => {
    const guest = behindLoadOfSs('syscall')
    expect([guest.trapped, guest.ended, told(guest)]).toEqual([-1, 4, 0])
  })

  test('never comes in the entry of the guest\'s kernel: a user\'s syscall and int 3 go there alone', () => {
    const called = behindLoadOfSs('syscall', 'user')
    expect([called.processor.registers.rip(), told(called)]).toEqual([PLACE.SYSCALL, 0])
    const trapped = behindLoadOfSs('int3', 'user')
    expect([trapped.trapped, told(trapped)]).toEqual([VECTOR.BP, 0])
    expect(trapped.stack(3)[2]).toBe(BigInt(PLACE.CODE + 3))
  })

  test.each([['ud2', 'ud2', VECTOR.UD], ['rdmsr of none', 'rdmsr', VECTOR.GP], ['a read of nothing', 'mov 0x0,%al', VECTOR.PF]])(
    'is dropped when the next instruction faults (%s)', (_, code, vector) => {
      const guest = behindLoadOfSs(code, 'user')
      expect([guest.trapped, told(guest)]).toEqual([vector, 0])
    })
})
