/** What a host does to a processor's registers, and what follows from it. */
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR0, GPR, RFLAGS, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { CpuBench, DATA } from '../../../support/cpu.ts'

describe('the instruction pointer', () => {
  test('is put into a general register whole', () => {
    const { registers } = new CpuBench().cpu
    registers.setRip(0x8123_4567, 0xffff_ffff)
    registers.keepRip(GPR.rcx)
    expect([registers.low(GPR.rcx), registers.high(GPR.rcx)]).toEqual([0x8123_4567, 0xffff_ffff])
  })

  test('outside of 64-bit code is an offset in the code segment', () => {
    const { registers } = new CpuBench().cpu
    registers.setSegment(SEGMENT.cs, { selector: 0x23, baseLow: 0x1000, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0fb })
    registers.setRip(0x2345, 0)
    registers.set(GPR.rcx, 1, 1)
    registers.keepRip(GPR.rcx)
    expect([registers.rip(), registers.low(GPR.rcx), registers.high(GPR.rcx)]).toEqual([0x2345, 0x2345, 0])
  })
})

describe('flags', () => {
  test('that a host sets have accesses checked for their alignment, and cleared again let them be', () => {
    const bench = new CpuBench()
    const { registers } = bench.cpu
    registers.setControl(0, (registers.controlLow(0) | CR0.AM) >>> 0, 0)
    bench.set('rdi', DATA + 1)
    const { exit } = bench.cpu
    registers.setFlags(registers.flags() | RFLAGS.AC)
    expect([bench.run('mov (%rdi),%eax; syscall'), exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.AC])
    registers.setFlags(registers.flags() & ~RFLAGS.AC)
    expect(bench.run('mov (%rdi),%eax; syscall')).toBe(EXIT.SYSCALL)
  })
})
