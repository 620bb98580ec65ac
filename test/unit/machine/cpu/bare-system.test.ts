import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR0, CR4, EFER, GPR, MSR, PAGE_FAULT, PTE, RFLAGS, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { AT, BareBench, SELECTOR, handlerOf } from '../../../support/bare.ts'

const HLT = 'hlt'
const RING3_CODE = 0x3_0000
const selectors = (b: BareBench): [number, number] =>
  [b.cpu.registers.segment(SEGMENT.cs).selector, b.cpu.registers.segment(SEGMENT.ss).selector]

/** Writes a far pointer of 64-bit offset (or `size` bytes) and selector at DATA, which RDI names. */
function farPointer(b: BareBench, offset: number, selector: number, size = 4): void {
  b.write32(AT.DATA, offset)
  b.write32(AT.DATA + 4, 0)
  b.write(AT.DATA + size, [selector & 0xff, selector >>> 8])
  b.set('rdi', AT.DATA)
}

describe('control registers', () => {
  const refused: readonly [string, string, number][] = [
    ['paging without protection', 'mov %rax,%cr0', CR0.PG],
    ['write-through without disabled cache', 'mov %rax,%cr0', (CR0.PG | CR0.PE | CR0.NW) >>> 0],
    ['no paging in 64-bit mode', 'mov %rax,%cr0', CR0.PE],
    ['the upper half of CR0', 'mov %rax,%cr0', 2 ** 32 + 0x8000_0011],
    ['no physical-address extension in long mode', 'mov %rax,%cr4', CR4.PGE],
    ['a bit of CR4 that CPUID does not offer', 'mov %rax,%cr4', CR4.PAE | CR4.SMEP],
    ['a bit of CR4 that does not exist', 'mov %rax,%cr4', CR4.PAE | 0x8000_0000],
    ['a CR3 beyond physical memory', 'mov %rax,%cr3', 2 ** 40],
    ['a CR8 of more than four bits', 'mov %rax,%cr8', 16],
    ['the upper half of DR7', 'mov %rax,%db7', 2 ** 33],
  ]
  test.each(refused)('%s is a protection fault', (_, code, value) => {
    const b = new BareBench()
    b.set('rax', value)
    const before = [0, 3, 4, 8].map((index) => b.cpu.registers.controlLow(index))
    b.run(code)
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.GP, [0, AT.CODE]])
    expect([0, 3, 4, 8].map((index) => b.cpu.registers.controlLow(index))).toEqual(before)
  })

  test('are read back as written, with what reads as 1', () => {
    const b = new BareBench()
    b.set('rax', (CR0.PG | CR0.PE | CR0.TS | 0x40) >>> 0)
    b.run(`mov %rax,%cr0; mov %cr0,%rbx; ${HLT}`)
    expect(b.get('rbx')).toBe((CR0.PG | CR0.PE | CR0.TS | CR0.ET) >>> 0)
    b.set('rax', 7)
    b.run(`mov %rax,%cr8; mov %cr8,%rbx; ${HLT}`)
    expect(b.get('rbx')).toBe(7)
  })

  test('one that does not exist is undefined', () => {
    const b = new BareBench()
    b.run('mov %cr1,%rax')
    expect(b.handled).toBe(VECTOR.UD)
  })

  test('CLTS and LMSW change what they may, and LMSW never clears PE', () => {
    const b = new BareBench()
    b.set('rax', 0xffff_fff8 + 2 ** 32)
    b.run(`lmsw %ax; mov %cr0,%rbx; clts; mov %cr0,%rcx; ${HLT}`)
    expect([b.get('rbx') & 15, b.get('rcx') & 15]).toEqual([CR0.TS | CR0.PE, CR0.PE])
  })

  test('floating point is switched away by TS and taken back by CLTS', () => {
    const b = new BareBench()
    b.set('rax', (b.cpu.registers.controlLow(0) | CR0.TS) >>> 0)
    // mov cr0,rax; fninit; with the handler: clts; iretq
    b.write(handlerOf(VECTOR.NM), assemble('clts; iretq'))
    b.run(`mov %rax,%cr0; fninit; ${HLT}`)
    expect(b.cpu.registers.rip()).toBe(AT.CODE + 6)
  })

  test('a new CR3 is another address space at once', () => {
    const b = new BareBench()
    // A second table that maps DATA to another page.
    for (let i = 0; i < 4; i += 1) b.write(0xa000 + i * 4096, [])
    b.write32(0xa000, 0xb007)
    b.write32(0xb000, 0xc007)
    b.write32(0xc000, 0xd007)
    for (let page = 0; page < 512; page += 1) b.write32(0xd000 + page * 8, page * 4096 | 7)
    b.write32(0xd000 + (AT.DATA >> 12) * 8, 0x7_0007)
    b.write32(AT.DATA, 1)
    b.write32(0x7_0000, 2)
    b.set('rdi', AT.DATA)
    b.set('rax', 0xa000)
    // mov ebx,[rdi]; mov cr3,rax; mov ecx,[rdi]
    b.run(`mov (%rdi),%ebx; mov %rax,%cr3; mov (%rdi),%ecx; ${HLT}`)
    expect([b.get('rbx'), b.get('rcx')]).toEqual([1, 2])
  })

  test('INVLPG makes a changed entry seen', () => {
    const b = new BareBench()
    b.write32(AT.DATA, 1)
    b.write32(0x7_0000, 2)
    b.set('rdi', AT.DATA)
    b.set('rsi', 0x4000 + (AT.DATA >> 12) * 8)
    b.set('rax', 0x7_0007)
    // mov ebx,[rdi]; mov [rsi],rax; invlpg [rdi]; mov ecx,[rdi]
    b.run(`mov (%rdi),%ebx; mov %rax,(%rsi); invlpg (%rdi); mov (%rdi),%ecx; ${HLT}`)
    expect([b.get('rbx'), b.get('rcx')]).toEqual([1, 2])
  })

  test('accessed and dirty bits are set by what runs', () => {
    const b = new BareBench()
    const entry = 0x4000 + (AT.DATA >> 12) * 8
    b.set('rdi', AT.DATA)
    b.run(`mov (%rdi),%ebx; ${HLT}`)
    expect(b.readByte(entry) & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED)
    b.run(`mov %ebx,(%rdi); ${HLT}`)
    expect(b.readByte(entry) & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED | PTE.DIRTY)
  })

  test('long mode ends and begins with paging, from 32-bit code', () => {
    const b = new BareBench()
    // far jump to 32-bit code; there: mov eax,cr0; and eax,~PG; mov cr0,eax; then EFER is read, and all taken back.
    farPointer(b, 0x1_1000, SELECTOR.CODE0_32)
    b.write(0x1_1000, assemble('mov %cr0,%rax; and $0x7fffffff,%eax; mov %rax,%cr0; mov $0xc0000080,%ecx; rdmsr; mov %eax,%ebx; mov %cr0,%rax; or $0x80000000,%eax; mov %rax,%cr0; rdmsr; hlt'))
    b.run('ljmp *(%rdi)')
    expect([b.get('rbx') & EFER.LMA, b.get('rbx') & EFER.LME, b.get('rax') & EFER.LMA]).toEqual([0, EFER.LME, EFER.LMA])
    expect(b.handled).toBe(-1)
  })
})

describe('descriptor tables', () => {
  test('are loaded and stored', () => {
    const b = new BareBench()
    b.write(AT.DATA, [0x7f, 0, 0x00, 0x60, 0, 0, 0, 0, 0, 0])
    b.write(AT.DATA + 16, [0xff, 0x0f, 0x00, 0x70, 0, 0, 0, 0, 0, 0])
    b.cpu.system.gdt = { baseLow: 0, baseHigh: 0, limit: 0 }
    b.cpu.system.idt = { baseLow: 0, baseHigh: 0, limit: 0 }
    for (const [name, value] of [['rdi', AT.DATA], ['rsi', AT.DATA + 32], ['rdx', AT.DATA + 16], ['rbx', AT.DATA + 48]] as const) {
      b.set(name, value)
    }
    b.run(`lgdt (%rdi); sgdt (%rsi); lidt (%rdx); sidt (%rbx); int $0x40`)
    expect(b.handled).toBe(0x40)
    const bytes = (at: number): number[] => Array.from({ length: 10 }, (_, i) => b.readByte(at + i))
    expect(bytes(AT.DATA + 32)).toEqual(bytes(AT.DATA))
    expect(bytes(AT.DATA + 48)).toEqual(bytes(AT.DATA + 16))
  })

  test('a base that is not canonical is refused', () => {
    const b = new BareBench()
    b.write(AT.DATA, [0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0x40])
    b.set('rdi', AT.DATA)
    b.run('lgdt (%rdi)')
    expect(b.handled).toBe(VECTOR.GP)
  })

  test('LTR marks the task busy and takes no busy one; LLDT brings selectors of its own', () => {
    const b = new BareBench()
    b.set('rax', SELECTOR.TSS)
    b.set('rbx', SELECTOR.LDT)
    b.write32(AT.LDT + 8, 0xffff)
    b.write32(AT.LDT + 12, 0x00cf_9200)
    b.set('rsi', 0x0c)
    // ltr ax; str ecx; lldt bx; sldt edx; mov ds,esi
    b.run(`ltr %ax; str %ecx; lldt %bx; sldt %edx; mov %esi,%ds; ${HLT}`)
    expect([b.handled, b.get('rcx'), b.get('rdx')]).toEqual([-1, SELECTOR.TSS, SELECTOR.LDT])
    expect(b.readByte(AT.GDT + SELECTOR.TSS + 5)).toBe(0x8b)
    // The accessed bit of the local segment has been written to its table.
    expect(b.readByte(AT.LDT + 13)).toBe(0x93)
    b.run('ltr %ax')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.GP, [SELECTOR.TSS]])
  })

  const bad: readonly [string, string, number, number, number][] = [
    ['a null task register', 'ltr %ax', 0, VECTOR.GP, 0],
    ['a task in the local table', 'ltr %ax', SELECTOR.TSS | 4, VECTOR.GP, SELECTOR.TSS | 4],
    ['a task that is code', 'ltr %ax', SELECTOR.CODE0, VECTOR.GP, SELECTOR.CODE0],
    ['a local table that is a task', 'lldt %ax', SELECTOR.TSS, VECTOR.GP, SELECTOR.TSS],
    ['a selector of a local table that is not loaded', 'mov %eax,%ds', 0x0c, VECTOR.GP, 0x0c],
    ['a stack of another ring', 'mov %eax,%ss', SELECTOR.DATA3, VECTOR.GP, SELECTOR.DATA3 & ~3],
    ['a stack that is code', 'mov %eax,%ss', SELECTOR.CODE0, VECTOR.GP, SELECTOR.CODE0],
  ]
  test.each(bad)('%s is refused', (_, code, selector, vector, errorCode) => {
    const b = new BareBench()
    b.cpu.system.ldtr = { selector: 0, baseLow: 0, baseHigh: 0, limit: 0, attributes: 0 }
    b.set('rax', selector)
    b.run(code)
    expect([b.handled, b.frame(1)]).toEqual([vector, [errorCode]])
  })

  test('segments that are not present tell so', () => {
    const b = new BareBench()
    b.descriptor(SELECTOR.DATA0, 0xffff, 0x00cf_1200)
    b.set('rax', SELECTOR.DATA0)
    b.run('mov %eax,%ds')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.NP, [SELECTOR.DATA0]])
    b.run('mov %eax,%ss')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.SS, [SELECTOR.DATA0]])
  })
})

describe('what only ring 0 may do', () => {
  const instructions = [
    ['HLT', 'hlt'], ['CLTS', 'clts'], ['INVD', 'invd'], ['WBINVD', 'wbinvd'], ['RDMSR', 'rdmsr'], ['WRMSR', 'wrmsr'],
    ['MOV from CR0', 'mov %cr0,%rax'], ['MOV to CR3', 'mov %rax,%cr3'], ['MOV from DR7', 'mov %db7,%rax'], ['LGDT', 'lgdt (%rdi)'], ['LIDT', 'lidt (%rdi)'],
    ['LLDT', 'lldt %ax'], ['LTR', 'ltr %ax'], ['LMSW', 'lmsw %ax'], ['INVLPG', 'invlpg (%rax)'], ['SWAPGS', 'swapgs'], ['SYSRET', 'sysretq'],
    ['CLI', 'cli'], ['STI', 'sti'], ['IN', 'in (%dx),%al'], ['OUT', 'out %al,(%dx)'], ['RDPMC', 'rdpmc'],
  ] as const
  test.each(instructions)('%s faults in ring 3', (_, code) => {
    const b = new BareBench()
    b.enterRing3()
    b.set('rdi', AT.DATA)
    b.run(code)
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.GP, [0, AT.CODE]])
  })

  test('with an I/O privilege level of 3 ring 3 masks interrupts and uses ports, and POPF changes IF but not IOPL', () => {
    const b = new BareBench()
    b.enterRing3()
    b.cpu.registers.setFlags(RFLAGS.IOPL | RFLAGS.IF)
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    // cli; in al,dx; push 0x202; popf; int 0x40
    b.run('cli; in (%dx),%al; push $0x202; popf; int $0x40')
    expect([b.handled, b.frame(3)[2]! & (RFLAGS.IF | RFLAGS.IOPL)]).toEqual([0x40, RFLAGS.IF | RFLAGS.IOPL])
  })

  test('POPF in ring 3 leaves IF and IOPL alone', () => {
    const b = new BareBench()
    b.enterRing3()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    b.run('push $0x3000; popf; int $0x40')
    expect(b.frame(3)[2]! & (RFLAGS.IF | RFLAGS.IOPL)).toBe(RFLAGS.IF)
  })
})

describe('fast calls', () => {
  function withSyscall(): BareBench {
    const b = new BareBench()
    const { system } = b.cpu
    system.setMsr(MSR.STAR, 0, (0x18 << 16) | SELECTOR.CODE0)
    system.setMsr(MSR.LSTAR, 0x3_8000, 0)
    system.setMsr(MSR.CSTAR, 0x3_9000, 0)
    system.setMsr(MSR.SFMASK, RFLAGS.IF | RFLAGS.DF, 0)
    return b
  }

  test('SYSCALL enters ring 0 with masked flags, SYSRET goes back', () => {
    const b = withSyscall()
    b.enterRing3()
    b.cpu.registers.setFlags(RFLAGS.IF | RFLAGS.DF)
    b.write(0x3_8000, assemble(HLT))
    expect(b.run('syscall')).toBe(EXIT.HALT)
    expect(b.cpu.registers.rip()).toBe(0x3_8001)
    expect([b.get('rcx'), b.get('r11')]).toEqual([AT.CODE + 2, RFLAGS.FIXED | RFLAGS.IF | RFLAGS.DF])
    expect([...selectors(b), b.cpu.registers.flags()]).toEqual([SELECTOR.CODE0, SELECTOR.DATA0, RFLAGS.FIXED])
    // The stack is the caller's.
    expect(b.get('rsp')).toBe(AT.STACK3 - 0x100)
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    b.write(0x3_8000, assemble('sysretq'))
    b.run('syscall; int $0x40')
    expect([b.handled, b.frame(4)]).toEqual([0x40, [AT.CODE + 4, 0x2b, RFLAGS.FIXED, AT.STACK3 - 0x100]])
  })

  test('SYSRET without 64-bit operand size goes to 32-bit code', () => {
    const b = withSyscall()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    b.write(RING3_CODE, assemble('int $0x40'))
    b.set('rcx', RING3_CODE)
    b.set('r11', 0x202)
    b.run('sysretl')
    expect([b.handled, b.frame(2)]).toEqual([0x40, [RING3_CODE + 2, 0x1b]])
  })

  test('SYSCALL needs EFER.SCE, SYSRET a canonical target', () => {
    const b = withSyscall()
    b.set('rcx', 2 ** 50)
    b.run('sysretq')
    expect(b.handled).toBe(VECTOR.GP)
    b.cpu.system.setMsr(MSR.EFER, EFER.LME | EFER.NXE, 0)
    b.run('syscall')
    expect(b.handled).toBe(VECTOR.UD)
  })

  test('SYSENTER and SYSEXIT exist where CPUID offers them', () => {
    const offered = new BareBench({ cpuid: { read: (leaf) => (leaf === 1 ? [0, 0, 0, 1 << 11] : [0, 0, 0, 0]) } })
    for (const b of [new BareBench(), offered]) {
      b.cpu.system.setMsr(MSR.SYSENTER_CS, SELECTOR.CODE0, 0)
      b.cpu.system.setMsr(MSR.SYSENTER_ESP, AT.STACK0, 0)
      b.cpu.system.setMsr(MSR.SYSENTER_EIP, 0x3_8000, 0)
      b.write(0x3_8000, assemble(HLT))
      b.enterRing3()
      b.run('sysenter')
    }
    expect([offered.cpu.registers.rip(), offered.get('rsp'), ...selectors(offered)]).toEqual(
      [0x3_8001, AT.STACK0, SELECTOR.CODE0, SELECTOR.DATA0])
    offered.write(RING3_CODE, assemble('int $0x40'))
    offered.descriptor(SELECTOR.CODE0 + 32, 0xffff, 0x00af_fa00)
    offered.set('rdx', RING3_CODE)
    offered.set('rcx', AT.STACK3)
    offered.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    offered.run('sysexitq')
    expect([offered.handled, offered.frame(4)[0], offered.frame(4)[1], offered.frame(4)[3]]).toEqual(
      [0x40, RING3_CODE + 2, SELECTOR.CODE0 + 32 + 3, AT.STACK3])
  })

  test('SWAPGS exchanges the bases', () => {
    const b = new BareBench()
    b.cpu.system.setMsr(MSR.GS_BASE, 0x1234, 0)
    b.cpu.system.setMsr(MSR.KERNEL_GS_BASE, AT.DATA, 0)
    b.write32(AT.DATA, 77)
    b.run(`swapgs; mov %gs:0x0,%eax; ${HLT}`)
    expect([b.get('rax'), b.cpu.system.msr(MSR.KERNEL_GS_BASE)]).toEqual([77, [0x1234, 0]])
  })
})

describe('model-specific registers', () => {
  const write = (b: BareBench, register: number, low: number, high: number): void => {
    b.set('rcx', register)
    b.set('rax', low)
    b.set('rdx', high)
    b.run(`wrmsr; rdmsr; ${HLT}`)
  }
  const kept: readonly [string, number, number, number][] = [
    ['STAR', MSR.STAR, 1, 2], ['LSTAR', MSR.LSTAR, 3, 4], ['CSTAR', MSR.CSTAR, 5, 6], ['SFMASK', MSR.SFMASK, 0x200, 0],
    ['FS base', MSR.FS_BASE, 7, 0xffff_8000], ['GS base', MSR.GS_BASE, 9, 0], ['kernel GS base', MSR.KERNEL_GS_BASE, 11, 0],
    ['SYSENTER_CS', MSR.SYSENTER_CS, 8, 0], ['TSC_AUX', MSR.TSC_AUX, 13, 0], ['PAT', MSR.PAT, 0x0007_0106, 0x0007_0406],
    ['EFER', MSR.EFER, EFER.SCE | EFER.LME | EFER.LMA, 0],
  ]
  test.each(kept)('%s keeps what is written', (_, register, low, high) => {
    const b = new BareBench()
    write(b, register, low, high)
    expect([b.handled, b.get('rax'), b.get('rdx')]).toEqual([-1, low, high])
  })

  const refused: readonly [string, number, number, number][] = [
    ['an unknown register', 0x1234, 0, 0], ['an address that is not canonical', MSR.LSTAR, 0, 0x1000_0000],
    ['an unknown bit of EFER', MSR.EFER, EFER.LME | 2, 0], ['EFER.LME while paging is on', MSR.EFER, 0, 0],
    ['a memory type that does not exist', MSR.PAT, 2, 0], ['an APIC that is not there', MSR.APIC_BASE, 0xfee0_0900, 0],
  ]
  test.each(refused)('%s is refused', (_, register, low, high) => {
    const b = new BareBench()
    write(b, register, low, high)
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.GP, [0, AT.CODE]])
  })

  test('NX is a reserved bit until EFER enables it', () => {
    const b = new BareBench()
    b.write32(0x4000 + (AT.DATA >> 12) * 8 + 4, 0x8000_0000)
    b.set('rdi', AT.DATA)
    write(b, MSR.EFER, EFER.SCE | EFER.LME | EFER.LMA, 0)
    b.set('rdi', AT.DATA)
    b.run('mov (%rdi),%eax')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.PF, [9]])
  })

  test('the time stamp counts instructions, and goes on from what is written', () => {
    const b = new BareBench()
    b.run(`nop; nop; rdtsc; ${HLT}`)
    expect(b.get('rax')).toBe(2)
    b.set('rcx', MSR.TSC)
    b.set('rax', 0xffff_ffff)
    b.set('rdx', 5)
    b.run(`wrmsr; nop; rdtsc; ${HLT}`)
    expect([b.get('rax'), b.get('rdx')]).toEqual([1, 6])
  })
})

describe('ports', () => {
  test('read ones and swallow writes where there is no device', () => {
    const b = new BareBench()
    b.set('rax', 0x1122_3344)
    b.run(`in (%dx),%al; out %eax,(%dx); ${HLT}`)
    expect(b.get('rax')).toBe(0x1122_33ff)
    b.run(`in (%dx),%eax; ${HLT}`)
    expect(b.get('rax')).toBe(0xffff_ffff)
  })

  test('reach the hook, one element after the other where they are repeated', () => {
    const seen: unknown[] = []
    const ports = {
      read: (port: number, size: number): number => seen.push(['read', port, size]),
      write: (port: number, size: number, value: number): void => void seen.push(['write', port, size, value]),
    }
    const b = new BareBench({ ports })
    b.write(AT.DATA, [1, 2, 3])
    b.set('rsi', AT.DATA)
    b.set('rdi', AT.DATA + 0x100)
    b.set('rdx', 0x3f8)
    b.set('rcx', 3)
    // rep outsb; mov cl,2; rep insd
    b.run(`rep outsb %ds:(%rsi),(%dx); mov $2,%cl; rep insl (%dx),%es:(%rdi); ${HLT}`)
    expect(seen).toEqual([
      ['write', 0x3f8, 1, 1], ['write', 0x3f8, 1, 2], ['write', 0x3f8, 1, 3], ['read', 0x3f8, 4], ['read', 0x3f8, 4],
    ])
    expect([b.readByte(AT.DATA + 0x100), b.readByte(AT.DATA + 0x104), b.get('rcx'), b.get('rdi')]).toEqual(
      [4, 5, 0, AT.DATA + 0x108])
    expect(b.cpu.executed).toBe(3 + 1 + 2 + 1)
  })

  test('a repetition stops where the budget does and goes on there', () => {
    const written: number[] = []
    const b = new BareBench({ ports: { read: () => 0, write: (_, __, value) => void written.push(value) } })
    b.write(AT.DATA, [1, 2, 3, 4])
    b.set('rsi', AT.DATA)
    b.set('rcx', 4)
    expect([b.run(`rep outsb %ds:(%rsi),(%dx); ${HLT}`, 3), written, b.cpu.registers.rip()]).toEqual([EXIT.BUDGET, [1, 2, 3], AT.CODE])
    expect([b.cpu.run(9), written.length, b.cpu.executed]).toEqual([EXIT.HALT, 4, 2])
  })

  test('a device interrupts behind the access', () => {
    const b: BareBench = new BareBench({ ports: { read: () => 0, write: () => b.cpu.interrupt(0x77) } })
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.run('nop; out %al,(%dx); nop; nop')
    expect([b.handled, b.frame(1)]).toEqual([0x77, [AT.CODE + 2]])
  })

  test('ring 3 may use those that the bitmap of its task leaves open', () => {
    const b = new BareBench()
    b.cpu.system.tr = { ...b.cpu.system.tr, limit: 0x68 + 0x90 }
    for (let i = 0; i < 0x90; i += 1) b.write(AT.TSS + 0x68 + i, [0xff])
    b.write(AT.TSS + 0x68 + (0x3f8 >> 3), [0xfc])
    b.enterRing3()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    b.set('rdx', 0x3f8)
    b.run('in (%dx),%al; int $0x40')
    expect(b.handled).toBe(0x40)
    b.enterRing3()
    b.run('in (%dx),%eax; int $0x40')
    expect(b.handled).toBe(VECTOR.GP)
    b.enterRing3()
    b.set('rdx', 0x3fa)
    b.run('in (%dx),%al; int $0x40')
    expect(b.handled).toBe(VECTOR.GP)
  })
})

describe('CPUID', () => {
  test('answers from the table of the host', () => {
    const seen: number[][] = []
    const b = new BareBench({
      cpuid: {
        read: (leaf, subleaf) => {
          seen.push([leaf, subleaf])
          return leaf === 1 ? [1, 2, 3, 4] : [0, 0, 0, 0]
        },
      },
    })
    b.set('rax', 1)
    b.set('rcx', 9)
    b.run(`cpuid; ${HLT}`)
    expect(seen).toContainEqual([1, 9])
    expect([b.get('rax'), b.get('rbx'), b.get('rcx'), b.get('rdx')]).toEqual([1, 2, 3, 4])
  })

  test('offers long mode and SSE of itself', () => {
    const b = new BareBench()
    b.set('rax', 0x8000_0001)
    b.run(`cpuid; ${HLT}`)
    expect(b.get('rdx') & (1 << 29)).not.toBe(0)
  })
})

describe('returns and far transfers', () => {
  /** IRETQ to a frame on the running stack. */
  function iret(b: BareBench, frame: readonly number[]): void {
    const at = AT.STACK0 - 0x400
    frame.forEach((value, i) => {
      b.write32(at + i * 8, value)
      b.write32(at + i * 8 + 4, Math.floor(value / 2 ** 32))
    })
    b.set('rsp', at)
    b.run('iretq')
  }

  // Ring 0 executes the page often and by a register, so that the jump to it is remembered.
  const SHARED = 0x1_2000
  test('IRET to ring 3 does not take along what ring 0 may execute', () => {
    const b = new BareBench()
    b.map(SHARED, PTE.PRESENT | PTE.WRITABLE)
    b.write(SHARED, assemble('inc %ecx; ret'))
    b.set('rdx', 5)
    const push = (value: number): string => `push $${value};`
    const frame = [SELECTOR.DATA3, AT.STACK3 - 0x100, 0x202, SELECTOR.CODE3, SHARED].map(push).join('')
    b.run(`1: mov $${SHARED},%eax; call *%rax; dec %edx; jne 1b; xor %ecx,%ecx; ${frame} iretq`)
    expect([b.handled, b.get('rcx'), b.frame(2)]).toEqual([VECTOR.PF, 0, [PAGE_FAULT.PRESENT | PAGE_FAULT.USER | PAGE_FAULT.FETCH, SHARED]])
  })

  test('with SMEP a gate to ring 0 does not take along what ring 3 may execute', () => {
    const b = new BareBench()
    for (const page of [AT.CODE, AT.HANDLERS, AT.STACK0 - 0x1000]) b.map(page, PTE.PRESENT | PTE.WRITABLE)
    b.cpu.registers.setControl(4, b.cpu.registers.controlLow(4) | CR4.SMEP, 0)
    // The gate leads to the same page; the fault's own handler ends the run.
    b.gate(0x40, { target: SHARED, dpl: 3 })
    b.write(RING3_CODE, assemble(`dec %edx; js 1f; mov $${SHARED},%eax; jmp *%rax; 1: int $0x40`))
    b.write(SHARED, assemble(`mov $${RING3_CODE},%eax; jmp *%rax`))
    b.set('rdx', 5)
    b.enterRing3()
    b.jump(RING3_CODE)
    b.cpu.run(1000)
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.PF, [PAGE_FAULT.PRESENT | PAGE_FAULT.FETCH, SHARED]])
  })

  test('what ring 0 has read of ring 3 while AC lifted SMAP it does not read any more once AC is clear', () => {
    const b = new BareBench()
    for (const page of [AT.GDT, AT.IDT, AT.TSS, AT.CODE, AT.HANDLERS, AT.STACK0 - 0x1000]) b.map(page, PTE.PRESENT | PTE.WRITABLE)
    b.cpu.registers.setControl(4, b.cpu.registers.controlLow(4) | CR4.SMAP, 0)
    b.set('rdi', AT.DATA)
    // pushfq; or dword [rsp],AC; popfq; mov eax,[rdi]; pushfq; and dword [rsp],~AC; popfq; mov eax,[rdi]
    b.run('pushf; orl $0x40000,(%rsp); popf; mov (%rdi),%eax; pushf; andl $0xfffbffff,(%rsp); popf; mov (%rdi),%eax; hlt')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.PF, [PAGE_FAULT.PRESENT, AT.CODE + 20]])
  })

  test('IRET to ring 3 takes its stack and flags and drops segments of ring 0', () => {
    const b = new BareBench()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    b.write(RING3_CODE, assemble('int $0x40'))
    b.set('rax', SELECTOR.DATA0)
    b.run(`mov %eax,%ds; ${HLT}`)
    iret(b, [RING3_CODE, SELECTOR.CODE3, RFLAGS.IF | RFLAGS.IOPL, AT.STACK3, SELECTOR.DATA3])
    expect([b.handled, b.frame(5)]).toEqual(
      [0x40, [RING3_CODE + 2, SELECTOR.CODE3, RFLAGS.FIXED | RFLAGS.IF | RFLAGS.IOPL, AT.STACK3, SELECTOR.DATA3]])
    expect(b.cpu.registers.segment(SEGMENT.ds).selector).toBe(0)
  })

  test('IRET to ring 0 may take a null stack segment, to ring 3 not', () => {
    const b = new BareBench()
    b.write(RING3_CODE, assemble('int $0x40'))
    iret(b, [RING3_CODE, SELECTOR.CODE0, 2, AT.STACK0, 0])
    expect([b.handled, b.frame(5)[4]]).toEqual([0x40, 0])
    iret(b, [RING3_CODE, SELECTOR.CODE3, 2, AT.STACK3, 0])
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.GP, [0, AT.CODE]])
  })

  const bad: readonly [string, readonly number[], number, number][] = [
    ['to a null segment', [RING3_CODE, 0, 2, AT.STACK0, 0], VECTOR.GP, 0],
    ['to data', [RING3_CODE, SELECTOR.DATA0, 2, AT.STACK0, 0], VECTOR.GP, SELECTOR.DATA0],
    ['to code of another ring than asked', [RING3_CODE, SELECTOR.CODE0 | 3, 2, AT.STACK0, 0], VECTOR.GP, SELECTOR.CODE0],
    ['to an address that is not canonical', [2 ** 47, SELECTOR.CODE0, 2, AT.STACK0, 0], VECTOR.GP, 0],
    ['to a stack of another ring', [RING3_CODE, SELECTOR.CODE3, 2, AT.STACK0, SELECTOR.DATA0], VECTOR.GP, SELECTOR.DATA0],
  ]
  test.each(bad)('IRET %s faults with nothing changed', (_, frame, vector, errorCode) => {
    const b = new BareBench()
    iret(b, frame)
    expect([b.handled, b.frame(2), b.frame(5)[4]]).toEqual([vector, [errorCode, AT.CODE], AT.STACK0 - 0x400])
  })

  test('IRET of a nested task faults in long mode', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.NT)
    iret(b, [RING3_CODE, SELECTOR.CODE0, 2, AT.STACK0, 0])
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.GP, [0]])
  })

  test('far RET goes to an outer ring and drops parameters on both stacks', () => {
    const b = new BareBench()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    b.write(RING3_CODE, assemble('int $0x40'))
    const at = AT.STACK0 - 0x400
    ;[RING3_CODE, SELECTOR.CODE3, 1, 2, AT.STACK3 - 64, SELECTOR.DATA3].forEach((value, i) => b.write32(at + i * 8, value))
    b.set('rsp', at)
    b.run('lretq $16')
    expect([b.handled, b.frame(5)[3]]).toEqual([0x40, AT.STACK3 - 64 + 16])
  })

  function callGate(b: BareBench, options: { dpl?: number; selector?: number; flags?: number } = {}): void {
    const { dpl = 3, selector = SELECTOR.CODE0, flags = 0x8c00 } = options
    b.descriptor(SELECTOR.GATE, (RING3_CODE & 0xffff) | selector << 16, (RING3_CODE & 0xffff_0000) | flags | dpl << 13)
    b.descriptor(SELECTOR.GATE + 8, 0, 0)
  }

  test('a call gate leads from ring 3 to ring 0 on its stack, and far RET back', () => {
    const b = new BareBench()
    callGate(b)
    b.enterRing3()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    farPointer(b, 0, SELECTOR.GATE | 3)
    b.write(RING3_CODE, assemble(HLT))
    b.run('lcall *(%rdi); int $0x40')
    expect([b.cpu.registers.rip(), ...selectors(b), b.get('rsp')]).toEqual(
      [RING3_CODE + 1, SELECTOR.CODE0, 0, AT.STACK0 - 32])
    expect(b.frame(4)).toEqual([AT.CODE + 2, SELECTOR.CODE3, AT.STACK3 - 0x100, SELECTOR.DATA3])
    b.write(RING3_CODE, assemble('lretq'))
    b.jump(RING3_CODE)
    b.cpu.run(10)
    expect([b.handled, b.frame(5)[3]]).toEqual([0x40, AT.STACK3 - 0x100])
  })

  test('a jump through a gate stays in the ring', () => {
    const b = new BareBench()
    callGate(b)
    farPointer(b, 0, SELECTOR.GATE)
    b.write(RING3_CODE, assemble(HLT))
    b.run('ljmp *(%rdi)')
    expect(b.cpu.registers.rip()).toBe(RING3_CODE + 1)
    b.enterRing3()
    farPointer(b, 0, SELECTOR.GATE | 3)
    b.run('ljmp *(%rdi)')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.GP, [SELECTOR.CODE0]])
  })

  const gates: readonly [string, Parameters<typeof callGate>[1], number, number][] = [
    ['closed to the ring', { dpl: 0 }, VECTOR.GP, SELECTOR.GATE],
    ['that is absent', { flags: 0x0c00 }, VECTOR.NP, SELECTOR.GATE],
    ['of a task', { flags: 0x8500 }, VECTOR.GP, SELECTOR.GATE],
    ['to data', { selector: SELECTOR.DATA0 }, VECTOR.GP, SELECTOR.DATA0],
    ['to 32-bit code', { selector: SELECTOR.CODE0_32 }, VECTOR.GP, SELECTOR.CODE0_32],
  ]
  test.each(gates)('a gate %s faults', (_, options, vector, errorCode) => {
    const b = new BareBench()
    callGate(b, options)
    b.enterRing3()
    farPointer(b, 0, SELECTOR.GATE | 3)
    b.run('lcall *(%rdi)')
    expect([b.handled, b.frame(2)]).toEqual([vector, [errorCode, AT.CODE]])
  })

  test('LSS and LFS load both halves', () => {
    const b = new BareBench()
    farPointer(b, 0x4_f000, SELECTOR.DATA0)
    b.run(`lss (%rdi),%esp; ${HLT}`)
    expect([b.get('rsp'), selectors(b)[1]]).toEqual([0x4_f000, SELECTOR.DATA0])
    farPointer(b, 0x1234, SELECTOR.DATA3)
    b.run(`lfs (%rdi),%eax; ${HLT}`)
    expect([b.get('rax'), b.cpu.registers.segment(SEGMENT.fs).selector]).toEqual([0x1234, SELECTOR.DATA3])
  })
})

describe('saved state', () => {
  test('takes along what only a bare processor has, and goes on with it', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.cpu.system.setMsr(MSR.LSTAR, 0x3_8000, 0)
    b.set('rdx', SELECTOR.DATA0)
    b.run('nop; mov %edx,%ss; inc %eax; inc %eax', 2)
    b.cpu.interrupt(0x40)
    b.cpu.nmi()
    const state = JSON.parse(JSON.stringify(b.cpu.save())) as ReturnType<typeof b.cpu.save>
    const other = b.machine.createProcessor({ mode: 'bare' })
    other.load(state)
    expect(JSON.parse(JSON.stringify(other.save()))).toEqual(state)
    // The shadow of the load of SS still holds, then the NMI comes first.
    other.run(3)
    expect([other.registers.low(GPR.rax), other.registers.rip()]).toEqual([1, handlerOf(VECTOR.NMI) + 1])
    b.cpu.run(3)
    expect(other.registers.rip()).toBe(b.cpu.registers.rip())
  })

  test('a processor that is halted or shut down stays so', () => {
    const b = new BareBench()
    b.run('hlt')
    const other = b.machine.createProcessor({ mode: 'bare' })
    other.load(b.cpu.save())
    expect(other.run(10)).toBe(EXIT.HALT)
  })

  const good = new BareBench().cpu.save()
  const system = good.system!
  const control = (index: number, value: number): readonly number[] => good.control.map((old, i) => (i === index ? value : old))
  const bad: readonly [string, object][] = [
    ['another version', { version: 4 }],
    ['a hosted state', { system: undefined }],
    ['a base that is not canonical', { system: { ...system, gdt: { baseLow: 0, baseHigh: 0x4000_0000, limit: 1 } } }],
    ['a limit beyond 64 KiB', { system: { ...system, idt: { baseLow: 0, baseHigh: 0, limit: 0x1_0000 } } }],
    ['no task register', { system: { ...system, tr: null } }],
    ['unknown bits in EFER', { system: { ...system, efer: 0xffff } }],
    ['long mode without LME', { system: { ...system, efer: EFER.LMA } }],
    ['registers in another order', { system: { ...system, msrs: [...system.msrs].reverse() } }],
    ['a register with a bad value', { system: { ...system, msrs: system.msrs.map(([r]) => [r, 0xffff_ffff, 0x7fff_ffff]) } }],
    ['a vector beyond 255', { system: { ...system, interrupts: [256] } }],
    ['an NMI that is no boolean', { system: { ...system, nmi: 1 } }],
    ['an unknown activity', { system: { ...system, activity: 'asleep' } }],
    ['paging without protection', { control: control(0, CR0.PG) }],
    ['unknown bits in CR4', { control: control(6, 0xffff_ffff) }],
    ['a CR3 beyond memory', { control: control(5, 1) }],
    ['reserved flags', { flags: 0x8000_0000 }],
    ['an unknown shadow', { shadow: 'moon' }],
    ['an unknown debug trap', { debugTrap: 0x1_0000 }],
  ]
  test.each(bad)('with %s is refused and changes nothing', (_, changes) => {
    const b = new BareBench()
    b.run('hlt')
    const before = b.cpu.save()
    expect(() => b.cpu.load({ ...good, ...changes })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    expect(b.cpu.save()).toEqual(before)
  })
})

test.each([['vmaskmovpd %ymm11,%ymm14,(%esi)', [0x67, 0xc4, 0x62, 0x0d, 0x2f, 0x1e]], ['vmaskmovpd (%esi),%ymm14,%ymm11', [0x67, 0xc4, 0x62, 0x0d, 0x2d, 0x1e]]])(
  'the lanes of %s go on above a short address', (_, code) => {
    const b = new BareBench()
    b.cpu.registers.setControl(4, (b.cpu.registers.controlLow(4) | CR4.OSXSAVE | CR4.OSFXSR) >>> 0, 0)
    b.cpu.registers.setXcr0(7)
    b.set('rsi', 0xffff_ffff)
    b.write(AT.DATA, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80])
    // vmovdqu DATA, ymm14: the mask chooses the last lane.
    b.write(AT.CODE, [0xc5, 0x7e, 0x6f, 0x34, 0x25, 0, 0, AT.DATA >> 16, 0, ...code, 0xf4])
    b.cpu.run(10)
    expect([b.handled, b.cpu.registers.controlHigh(2), b.cpu.registers.controlLow(2)]).toEqual([VECTOR.PF, 1, 0x17])
  })
