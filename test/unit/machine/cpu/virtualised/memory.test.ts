import { describe, expect, test } from 'vitest'
import { EXIT, FRAME_RIGHT, Machine } from '../../../../../src/machine/index.ts'
import { CR0, CR4, MSR, PTE, SEGMENT, VECTOR } from '../../../../../src/x86/index.ts'
import { ALL_RIGHTS, AT, VirtualBench } from '../../../../support/virtualised.ts'

const ALL = PTE.PRESENT | PTE.WRITABLE | PTE.USER
const D = AT.DATA
const frame = (address: number): number => address >>> 12

describe('guest-physical memory', () => {
  test('tables, code and data are found where the host says, and marked in the guest\'s own tables', () => {
    const b = new VirtualBench()
    b.write32(D + 4, 41)
    expect(b.run(`mov ${D + 4},%eax; inc %eax; mov %eax,${D + 0x1008}; hlt`)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.read32(D + 0x1008)]).toEqual([42, 42])
    const entry = (page: number): number => b.read32(AT.TABLE + page * 8) & 0xfff
    expect([entry(frame(D)), entry(frame(D) + 1), entry(frame(D) + 2)]).toEqual([ALL | PTE.ACCESSED, ALL | PTE.ACCESSED | PTE.DIRTY, ALL])
  })

  const missing: readonly [string, string, number, 'read' | 'write' | 'execute', boolean, number][] = [
    ['a load', `mov ${D + 0x123},%eax`, 0, 'read', false, D + 0x123],
    ['a store', `mov %eax,${D + 0x124}`, 0, 'write', false, D + 0x124],
    ['a fetch', `jmp ${D + 8}`, 0, 'execute', false, D + 8],
    ['a store to a frame that may be read', `mov %eax,${D}`, FRAME_RIGHT.READ | FRAME_RIGHT.EXECUTE, 'write', true, D],
    ['a read-modify-write of it', `addl $1,${D}`, FRAME_RIGHT.READ | FRAME_RIGHT.EXECUTE, 'write', true, D],
    ['a fetch from a frame of data', `jmp ${D}`, FRAME_RIGHT.READ | FRAME_RIGHT.WRITE, 'execute', true, D],
    ['a load from a frame that may only be executed', `mov ${D},%eax`, FRAME_RIGHT.EXECUTE, 'read', true, D],
    ['a push', 'push %rax', 0, 'write', false, AT.STACK - 8],
    ['a string store', 'rep stos %al,%es:(%rdi)', 0, 'write', false, D],
  ]
  test.each(missing)('%s that the host does not allow comes back, and goes on once it does', (_, code, rights, access, isPresent, address) => {
    const b = new VirtualBench()
    const gfn = frame(address)
    const whole = b.p2m[gfn]!
    b.write(D, [0xf4])
    b.write(D + 8, [0xf4])
    b.p2m[gfn] = rights === 0 ? 0 : (whole & -4096) | rights
    b.set('rdi', D)
    b.set('rcx', 4)
    expect(b.run(`${code}; hlt`)).toBe(EXIT.PHYSICAL)
    expect(b.cpu.exit.physical).toEqual({ address, access, isPresent, isTable: false })
    expect(b.cpu.executed).toBe(access === 'execute' ? 1 : 0)
    expect(b.cpu.run(10)).toBe(EXIT.PHYSICAL)
    b.p2m[gfn] = whole
    b.cpu.flushFrame(gfn)
    expect(b.cpu.run(10)).toBe(EXIT.HALT)
    expect(b.handled).toBe(-1)
  })

  test('what has been read may not be written because of that', () => {
    const b = new VirtualBench()
    b.p2m[frame(D)] = (b.p2m[frame(D)]! & -4096) | FRAME_RIGHT.READ
    expect(b.run(`mov ${D},%eax; mov ${D},%eax; mov %eax,${D}; hlt`)).toBe(EXIT.PHYSICAL)
    expect(b.cpu.executed).toBe(2)
  })

  test('the guest\'s own fault comes first', () => {
    const b = new VirtualBench()
    b.write32(AT.TABLE + frame(D) * 8, D | PTE.PRESENT)
    b.p2m[frame(D)] = 0
    b.run(`mov %eax,${D}; hlt`)
    expect([b.handled, b.cpu.registers.controlLow(2)]).toEqual([VECTOR.PF, D])
  })

  test.each([['is not there', 0], ['may not be written', FRAME_RIGHT.READ | FRAME_RIGHT.EXECUTE]])('a page table whose frame %s', (_, rights) => {
    const b = new VirtualBench()
    b.load('hlt')
    const gfn = frame(AT.TABLE)
    b.p2m[gfn] = rights === 0 ? 0 : (b.p2m[gfn]! & -4096) | rights
    expect(b.cpu.run(10)).toBe(EXIT.PHYSICAL)
    expect(b.cpu.exit.physical).toEqual({ address: AT.TABLE, access: 'write', isPresent: rights !== 0, isTable: true })
  })

  test('an answer that is no frame of guests counts as none', () => {
    const b = new VirtualBench()
    for (const mfn of [0, b.machine.memory.firstFrame - 1, b.machine.memory.endFrame]) {
      b.p2m[frame(D)] = (mfn * 4096 + ALL_RIGHTS) >>> 0
      b.cpu.flushTlb()
      expect(b.run(`mov ${D},%eax; hlt`)).toBe(EXIT.PHYSICAL)
    }
  })

  test('the host is asked once for a frame, whatever the guest flushes, and again when it says so', () => {
    const b = new VirtualBench()
    b.run(`mov ${D},%eax; mov %cr3,%rcx; mov %rcx,%cr3; mov ${D},%eax; invlpg ${D}; mov ${D},%eax; hlt`)
    expect(b.asked.filter((gfn) => gfn === frame(D))).toHaveLength(1)
    b.cpu.flushFrame(frame(D))
    b.run(`mov ${D},%eax; hlt`)
    expect(b.asked.filter((gfn) => gfn === frame(D))).toHaveLength(2)
    expect(b.asked.filter((gfn) => gfn === frame(AT.CODE))).toHaveLength(1)
    b.cpu.flushTlb()
    b.run('hlt')
    expect(b.asked.filter((gfn) => gfn === frame(AT.CODE))).toHaveLength(2)
  })

  test('a frame that has moved is found once the host says so, code too', () => {
    const b = new VirtualBench()
    const code = frame(AT.CODE)
    b.run('mov $1,%eax; hlt')
    const [old, other] = [b.p2m[code]!, b.p2m[code + 0x80]!]
    b.p2m[code] = other
    b.load('mov $2,%eax; hlt')
    b.cpu.run(10)
    expect(b.get('rax')).toBe(1)
    b.cpu.flushFrame(code)
    b.cpu.registers.setRip(AT.CODE, 0)
    b.cpu.run(10)
    expect(b.get('rax')).toBe(2)
    b.p2m[code] = old
  })

  test('a large page of the guest\'s may lie in scattered frames', () => {
    const b = new VirtualBench()
    b.write32(AT.ROOT + 0x2000 + 8, 0x20_0000 | ALL | PTE.LARGE)
    b.write32(0x20_5000, 5)
    b.write32(0x20_6000, 6)
    b.run(`mov 0x205000,%eax; add 0x206000,%eax; mov %eax,0x207000; hlt`)
    expect(b.read32(0x20_7000)).toBe(11)
    expect(b.read32(AT.ROOT + 0x2000 + 8) & 0xfff).toBe(ALL | PTE.LARGE | PTE.ACCESSED | PTE.DIRTY)
  })

  test('a page table that is marked counts as written, as does what is stored', () => {
    const b = new VirtualBench()
    const { memory } = b.machine
    const mfns = [AT.TABLE, D].map((address) => b.at(address) >>> 12)
    for (const mfn of mfns) memory.watchWrites(mfn)
    b.load(`mov ${D},%eax; hlt`)
    b.cpu.run(10)
    expect(mfns.map((mfn) => memory.isClean(mfn))).toEqual([false, true])
    b.run(`mov %eax,${D}; hlt`)
    expect(mfns.map((mfn) => memory.isClean(mfn))).toEqual([false, false])
  })

  test('an interrupt on whose way memory is missing still waits', () => {
    const b = new VirtualBench()
    const gfn = frame(AT.STACK - 8)
    const whole = b.p2m[gfn]!
    b.p2m[gfn] = 0
    b.load('sti; hlt; jmp .')
    expect(b.cpu.run(2)).toBe(EXIT.HALT)
    b.cpu.interrupt(0x40)
    expect(b.cpu.run(10)).toBe(EXIT.PHYSICAL)
    expect(b.cpu.exit.physical).toMatchObject({ address: AT.STACK - 8, access: 'write', isTable: false })
    expect([b.cpu.executed, b.cpu.save().system!.interrupts, b.cpu.save().system!.activity]).toEqual([0, [0x40], 'halted'])
    b.p2m[gfn] = whole
    b.cpu.flushFrame(gfn)
    b.cpu.run(10)
    expect([b.handled, b.cpu.save().system!.interrupts]).toEqual([0x40, []])
  })

  test('hot code is compiled, and compiled code follows its pages to where the host puts them', () => {
    const b = new VirtualBench({ compiler: { samples: 1, slice: 500, batch: 1 } })
    // A loop over two pages.
    const loop = `
      mov $20000,%ecx
      jmp near
      .skip 4000
      near: add $1,%eax
      call far
      dec %ecx
      jne near
      hlt
      .skip 4200
      far: addl $2,${D}
      ret`
    b.set('rax', 0)
    expect(b.run(loop, 1_000_000)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.read32(D)]).toEqual([20_000, 40_000])
    expect(b.machine.compilerFigures()!.visits).toBeGreaterThan(0)
    // The page of the function moves to a frame with other code.
    const gfn = frame(AT.CODE) + 2
    const bytes = b.machine.memory.bytes.slice(b.at(gfn * 4096), b.at(gfn * 4096) + 4096)
    b.p2m[gfn] = b.p2m[gfn + 0x80]!
    b.write(gfn * 4096, bytes.map((byte, i) => (byte === 2 && bytes[i + 1] === 0xc3 ? 3 : byte)))
    b.cpu.flushFrame(gfn)
    b.set('rax', 0)
    b.write32(D, 0)
    b.cpu.registers.setRip(AT.CODE, 0)
    expect(b.cpu.run(1_000_000)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.read32(D)]).toEqual([20_000, 60_000])
    b.p2m[frame(D)] = 0
    b.cpu.flushFrame(frame(D))
    b.cpu.registers.setRip(AT.CODE, 0)
    expect(b.cpu.run(1_000_000)).toBe(EXIT.PHYSICAL)
  })
})

describe('modes of translation', () => {
  const legacy = (b: VirtualBench, cr4: number, listing: string, paging: boolean): number => {
    const { registers, system } = b.cpu
    registers.setControl(0, CR0.PE | CR0.ET, 0)
    system.setMsr(MSR.EFER, 0, 0)
    registers.setControl(4, cr4, 0)
    for (const index of Object.values(SEGMENT)) {
      registers.setSegment(index, { selector: index === SEGMENT.cs ? 8 : 16, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: index === SEGMENT.cs ? 0xc09b : 0xc093 })
    }
    if (paging) registers.setControl(0, (CR0.PE | CR0.ET | CR0.PG) >>> 0, 0)
    b.load(listing, 32)
    return b.cpu.run(100)
  }

  test('without paging linear addresses are guest-physical ones: the entry of a PVH kernel', () => {
    const b = new VirtualBench()
    b.write32(D, 7)
    expect(legacy(b, 0, `mov ${D},%eax; inc %eax; mov %eax,${D + 4}; hlt`, false)).toBe(EXIT.HALT)
    expect(b.read32(D + 4)).toBe(8)
    b.p2m[frame(D)] = 0
    b.cpu.flushFrame(frame(D))
    expect(legacy(b, 0, `mov %eax,${D}; hlt`, false)).toBe(EXIT.PHYSICAL)
    expect(b.cpu.exit.physical).toEqual({ address: D, access: 'write', isPresent: false, isTable: false })
    // Rings of pages are paging's.
    b.cpu.flushTlb()
    expect(legacy(b, CR4.SMEP | CR4.SMAP, 'hlt', false)).toBe(EXIT.HALT)
  })

  test('two levels', () => {
    const b = new VirtualBench()
    b.write32(AT.ROOT, 0x10_0000 | ALL)
    for (let page = 0; page < 512; page += 1) b.write32(0x10_0000 + page * 4, (page * 4096) | ALL)
    b.write32(D, 9)
    expect(legacy(b, 0, `mov ${D},%eax; hlt`, true)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.read32(0x10_0000 + frame(D) * 4)]).toEqual([9, D | ALL | PTE.ACCESSED])
  })

  test('three levels', () => {
    const b = new VirtualBench()
    b.write32(AT.ROOT, 0x3000 | PTE.PRESENT)
    b.write32(D, 10)
    expect(legacy(b, CR4.PAE, `mov ${D},%eax; hlt`, true)).toBe(EXIT.HALT)
    expect(b.get('rax')).toBe(10)
  })
})

test('only a virtualised processor has a source of memory, and it has to have one', () => {
  const machine = new Machine({ memoryBytes: 1 << 20, processors: 1 })
  const physical = { frame: () => 0 }
  for (const options of [{ mode: 'bare', physical }, { mode: 'hosted', physical }, { mode: 'virtualised' }] as const) {
    expect(() => machine.createProcessor(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  }
})

test('a frame that the host takes away while it is asked for another one is gone for the instructions that follow', () => {
  const b = new VirtualBench()
  const [gone, asked] = [D, D + 0x3000]
  b.write32(gone, 1)
  b.write32(D + 0x1000, 2)
  Object.assign(b.asked, {
    push: (gfn: number) => {
      if (gfn !== frame(asked)) return
      b.p2m[frame(gone)] = b.p2m[frame(gone) + 1]!
      b.cpu.flushFrame(frame(gone))
    },
  })
  expect(b.run(`mov ${gone},%eax; mov ${gone},%ebx; mov ${asked},%ecx; mov ${gone},%edx; hlt`)).toBe(EXIT.HALT)
  expect([b.get('rax'), b.get('rbx'), b.get('rdx'), b.cpu.inspect().faults]).toEqual([1, 1, 2, []])
})

test.each([
  ['that is walked to for the first time each time', ALL], ['whose entry has been accessed', ALL | PTE.ACCESSED],
])('code that goes on in the next page is that of whatever page follows %s, in checks of older code too', (_, bits) => {
  const b = new VirtualBench()
  const [first, numbers] = [D + 0x1000 - 1, [0x1111, 0x2222]]
  const pages = [D + 0x1000, D + 0x5000]
  // jmp first, from the same page; mov $number, eax; ret
  b.write(first - 0x10, [0xeb, 0x0e])
  b.write(first, [0xb8])
  pages.forEach((page, i) => b.write(page, [numbers[i]! & 0xff, numbers[i]! >>> 8, 0, 0, 0xc3]))
  const follow = (i: number): string => `movl $${pages[i]! | bits},${AT.TABLE + frame(pages[0]!) * 8}; invlpg ${pages[0]}; call *%rsi;`
  b.set('rsi', first - 0x10)
  expect(b.run(`${follow(0)} mov %eax,%ebx; ${follow(1)} mov %eax,%ecx; ${follow(0)} hlt`)).toBe(EXIT.HALT)
  expect([b.get('rbx'), b.get('rcx'), b.get('rax')]).toEqual([0x1111, 0x2222, 0x1111])
  expect([b.cpu.inspect().faults, b.cpu.inspectCode().faults]).toEqual([[], []])
  // The elder one goes by a write to its second page, the younger one stays.
  b.write(pages[1]!, [0x33])
  expect(b.run(`${follow(1)} mov %eax,%ebx; ${follow(0)} hlt`)).toBe(EXIT.HALT)
  expect([b.get('rbx'), b.get('rax'), b.cpu.inspectCode().faults]).toEqual([0x2233, 0x1111, []])
})
