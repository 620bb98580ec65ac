import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../../src/machine/index.ts'
import type { InterruptSource, PortSource } from '../../../../../src/machine/index.ts'
import { DR6, GPR, MSR, RFLAGS, SEGMENT, VECTOR } from '../../../../../src/x86/index.ts'
import { BareBench } from '../../../../support/bare.ts'
import { AT, VirtualBench } from '../../../../support/virtualised.ts'

const APIC = 0xfee0_0000
const D = AT.DATA
/** A guest whose linear page D leads to a page of registers. */
const withDevice = (): VirtualBench => {
  const b = new VirtualBench()
  b.write32(AT.TABLE + (D >>> 12) * 8, (APIC | 0x67) >>> 0)
  return b
}

describe('what is left to the host', () => {
  const left: readonly [string, string, Partial<Record<'operation' | 'length' | 'size' | 'port' | 'register' | 'general', unknown>>][] = [
    ['IN', 'in (%dx),%ax', { operation: 'in', length: 2, size: 2, port: 0x3f8 }],
    ['OUT', 'out %al,$0x80', { operation: 'out', length: 2, size: 1, port: 0x80 }],
    ['OUTS', 'outsb %ds:(%rsi),(%dx)', { operation: 'outs', size: 1, port: 0x3f8 }],
    ['RDMSR of a register that is not its own', 'mov $0x1b,%ecx; rdmsr', { operation: 'rdmsr', length: 2, register: 0x1b }],
    ['WRMSR of one', 'mov $0x40000000,%ecx; wrmsr', { operation: 'wrmsr', length: 2, register: 0x4000_0000 }],
    ['VMCALL', 'vmcall', { operation: 'vmcall', length: 3 }],
    ['VMMCALL', 'vmmcall', { operation: 'vmcall', length: 3 }],
    ['MOV to CR8', 'mov %rbx,%cr8', { operation: 'write-cr', register: 8, general: GPR.rbx }],
    ['MOV from CR8', 'mov %cr8,%rcx', { operation: 'read-cr', register: 8, general: GPR.rcx }],
  ]
  test.each(left)('%s', (_, code, request) => {
    const b = new VirtualBench()
    b.set('rdx', 0x3f8)
    b.set('rsi', D)
    const before = code.split(';').length - 1
    expect(b.run(`${code}; hlt`)).toBe(EXIT.PRIVILEGED)
    expect(b.cpu.exit.request).toMatchObject(request)
    expect(b.cpu.executed).toBe(before)
    b.cpu.registers.setRip(b.cpu.registers.rip() + b.cpu.exit.request.length, 0)
    expect(b.cpu.run(10)).toBe(EXIT.HALT)
  })

  test('what is its own it does itself', () => {
    const b = new VirtualBench()
    expect(b.run(`mov $${MSR.LSTAR},%ecx; mov $5,%eax; mov $0,%edx; wrmsr; mov $0,%eax; rdmsr; hlt`)).toBe(EXIT.HALT)
    expect(b.get('rax')).toBe(5)
    const asked = new VirtualBench({ cpuid: { read: (leaf) => [leaf, 1, 2, 3] } })
    expect(asked.run('mov $0x40000000,%eax; cpuid; hlt')).toBe(EXIT.HALT)
    expect(asked.get('rax')).toBe(0x4000_0000)
  })

  test('ring 3 is refused first', () => {
    for (const [code, vector] of [['in (%dx),%al', VECTOR.GP], ['rdmsr', VECTOR.GP], ['mov %rax,%cr8', VECTOR.GP], ['hlt', VECTOR.GP]] as const) {
      const b = new VirtualBench()
      const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
      b.cpu.system.tr = { selector: 0x30, ...flat, baseLow: D, limit: 0x67, attributes: 0x8b }
      b.write32(D + 4, AT.STACK)
      b.write(D + 0x66, [0x68, 0])
      b.cpu.registers.setSegment(SEGMENT.ss, { ...flat, selector: 0x23, attributes: 0xc0f3 })
      b.cpu.registers.setSegment(SEGMENT.cs, { ...flat, selector: 0x2b, attributes: 0xa0fb })
      b.run(code)
      expect([code, b.handled]).toEqual([code, vector])
    }
  })

  test('a bare processor has nobody to call', () => {
    for (const code of ['vmcall', 'vmmcall']) {
      const b = new BareBench()
      b.run(code)
      expect(b.handled).toBe(VECTOR.UD)
    }
  })
})

describe('instructions over devices', () => {
  /** Name, instruction, what is read, what is written: address, bytes, value; RAX afterwards. */
  const cases: readonly [string, string, readonly number[], readonly number[][], number][] = [
    ['a load', `mov ${D + 0x20},%eax`, [APIC + 0x20, 4], [], 0x20],
    ['a load of a byte', `mov ${D + 0x21},%al`, [APIC + 0x21, 1], [], 0x21],
    ['a load of eight bytes', `mov ${D + 0x28},%rax`, [APIC + 0x28, 8], [], 0x28],
    ['a store', `movl $7,${D + 0xb0}`, [APIC + 0xb0, 4], [[APIC + 0xb0, 4, 7]], 0],
    ['a store of two bytes', `movw $0x1234,${D + 0xb2}`, [APIC + 0xb2, 2], [[APIC + 0xb2, 2, 0x1234]], 0],
    ['a read-modify-write', `orl $0x100,${D + 0xf0}`, [APIC + 0xf0, 4], [[APIC + 0xf0, 4, 0x1f0]], 0],
    ['an exchange', `xchg %eax,${D + 0x80}`, [APIC + 0x80, 4], [[APIC + 0x80, 4, 0]], 0x80],
    ['one repetition of a string store', 'rep stos %al,%es:(%rdi)', [APIC + 0x300, 1], [[APIC + 0x300, 1, 0]], 0],
  ]
  test.each(cases)('%s', (_, code, read, written, rax) => {
    const b = withDevice()
    const calls: { read: number[]; written: number[][] } = { read: [], written: [] }
    const memory = {
      read: (address: number, size: number): number => {
        calls.read = [address, size]
        return address & 0xfff
      },
      write: (address: number, size: number, value: number): void => void calls.written.push([address, size, value]),
    }
    b.set('rdi', D + 0x300)
    b.set('rcx', 1)
    expect(b.run(`${code}; hlt`)).toBe(EXIT.PHYSICAL)
    expect(b.cpu.exit.physical.address).toBe(read[0])
    expect(b.cpu.carryOut({ memory })).toBe(true)
    expect([calls.read, calls.written, b.get('rax')]).toEqual([read, written, rax])
    expect(b.cpu.run(10)).toBe(EXIT.HALT)
    expect(b.handled).toBe(-1)
  })

  test('sixteen bytes are no access of a device\'s, nor is what goes on behind its page, nor code', () => {
    for (const code of [`movups ${D},%xmm0`, `mov ${D + 0xffe},%eax`, `jmp ${D}`]) {
      const b = withDevice()
      expect(b.run(code)).toBe(EXIT.PHYSICAL)
      const { rip } = { rip: b.cpu.registers.rip() }
      expect(b.cpu.carryOut({ memory: { read: () => 0, write: () => {} } })).toBe(false)
      expect(b.cpu.registers.rip()).toBe(rip)
    }
  })

  test('a fault of the instruction\'s own is raised, and nothing reaches the device', () => {
    const b = withDevice()
    b.write32(AT.TABLE + (D / 4096 + 1) * 8, 0)
    b.set('rsi', D + 0x1000)
    b.set('rdi', D + 0x20)
    let writes = 0
    expect(b.run(`push ${D + 0x20}; hlt`)).toBe(EXIT.PHYSICAL)
    b.set('rsp', D + 0x1008)
    expect(b.cpu.carryOut({ memory: { read: () => 0, write: () => void (writes += 1) } })).toBe(true)
    expect([b.cpu.save().system!.raised, b.cpu.registers.controlLow(2), writes]).toEqual([{ vector: VECTOR.PF, errorCode: 2 }, D + 0x1000, 0])
  })

  test('a single step shows behind it, an interrupt comes after it', () => {
    const b = withDevice()
    b.load(`mov ${D},%eax; hlt`)
    b.cpu.registers.setFlags(RFLAGS.TF | RFLAGS.IF)
    expect(b.cpu.run(10)).toBe(EXIT.PHYSICAL)
    b.cpu.interrupt(0x50)
    b.cpu.carryOut({ memory: { read: () => 9, write: () => {} } })
    expect([b.get('rax'), b.cpu.save().debugTrap]).toEqual([9, DR6.BS])
    b.cpu.run(10)
    expect(b.handled).toBe(VECTOR.DB)
  })

  test('ports, strings too', () => {
    const b = new VirtualBench()
    const out: number[][] = []
    const ports: PortSource = { read: (port, size) => port + size, write: (...one) => void out.push(one) }
    b.write(D, [1, 2, 3])
    b.set('rsi', D)
    b.set('rcx', 3)
    b.set('rdx', 0xe9)
    let exits = 0
    b.load('in (%dx),%al; out %al,(%dx); rep outsb %ds:(%rsi),(%dx); hlt')
    while (b.cpu.run(100) === EXIT.PRIVILEGED) {
      exits += 1
      expect(b.cpu.carryOut({ ports })).toBe(true)
    }
    expect([exits, out.map(([, , value]) => value), b.get('rcx')]).toEqual([5, [0xea, 1, 2, 3], 0])
  })
})

describe('events of the host\'s', () => {
  test('an exception is delivered as the instruction\'s own would be, after a save too', () => {
    const b = new VirtualBench()
    b.run('mov $0x1b,%ecx; rdmsr; hlt')
    const rip = b.cpu.registers.rip()
    b.cpu.raise(VECTOR.GP, 0)
    const state = b.cpu.save()
    expect(state.system!.raised).toEqual({ vector: VECTOR.GP, errorCode: 0 })
    b.cpu.load(state)
    b.cpu.run(10)
    const top = b.get('rsp')
    expect([b.handled, b.read32(top), b.read32(top + 8), b.read32(top + 24) & RFLAGS.RF]).toEqual([VECTOR.GP, 0, rip, RFLAGS.RF])
    expect(b.cpu.save().system!.raised).toBeUndefined()
  })

  test('what is no exception is refused, in a call and in a saved state', () => {
    const b = new VirtualBench()
    for (const [vector, code] of [[32, undefined], [-1, undefined], [VECTOR.GP, undefined], [VECTOR.UD, 1]] as const) {
      expect(() => b.cpu.raise(vector, code)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    }
    const state = b.cpu.save()
    for (const raised of [1, null, {}, { vector: 40 }, { vector: 13 }, { vector: 6, errorCode: 1 }]) {
      const bad = { ...state, system: { ...state.system!, raised } } as unknown as typeof state
      expect(() => b.cpu.load(bad)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    }
    for (const vector of [-1, 256, 0.5]) {
      expect(() => b.cpu.startUp(vector)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    }
  })

  test('a controller is asked between instructions, and told what was taken; requested vectors come first', () => {
    const waiting = [0x51, 0x71]
    const source: InterruptSource = {
      pending: () => waiting.at(-1) ?? -1,
      acknowledge: (vector) => void waiting.splice(waiting.indexOf(vector), 1),
    }
    const b = new VirtualBench({ interrupts: source })
    b.load('nop; sti; nop; jmp .')
    b.cpu.run(2)
    expect(waiting).toHaveLength(2)
    b.cpu.interrupt(0x33)
    const order: number[] = []
    for (let i = 0; i < 3; i += 1) {
      b.cpu.run(10)
      order.push(b.handled)
      b.cpu.registers.setFlags(RFLAGS.IF)
      b.cpu.registers.setRip(AT.CODE + 3, 0)
    }
    expect([order, waiting]).toEqual([[0x33, 0x71, 0x51], []])
  })
})
