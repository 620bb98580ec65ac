/**
 * What a hostile 32-bit guest may try, by the rules of its own page tables, descriptors and hypercalls. Each row is what it
 * does and what it is answered; after each everything is counted, and no frame is lost.
 */
import { describe, expect, test } from 'vitest'
import { COMPAT, COMPAT_FLAT, DOMID, ERRNO, MMUEXT, MmuextOp } from '../../../../../src/abi/index.ts'
import type { Mfn } from '../../../../../src/util/index.ts'
import { PTE, PTE_HIGH_NX, VECTOR } from '../../../../../src/x86/index.ts'
import { READ, WRITE } from '../../../../support/hypervisor-host.ts'
import { BASE, M2P, PLACE, PaeGuest, PaeHost, TABLES } from '../../../../support/pae-guest.ts'

const { EACCES, EBUSY, EFAULT, EINVAL, EPERM, ENOSYS } = ERRNO
type Row = readonly [name: string, attack: (guest: PaeGuest) => unknown, answer: unknown]

function attacks(rows: readonly Row[]): void {
  test.each(rows)('%s', (_name, attack, answer) => {
    const guest = new PaeGuest()
    expect(attack(guest)).toEqual(answer)
    expect(guest.host.harm()).toEqual([])
  })
}

const Extended = COMPAT.of(MmuextOp)
/** mmuext_op of one operation. */
function extended(guest: PaeGuest, cmd: number, first = 0, second = 0): number {
  return guest.call('mmuext_op', guest.words(PLACE.DATA, cmd, first, second), 1, 0, DOMID.SELF)
}
const pin = (guest: PaeGuest, level: number, mfn: number): number => extended(guest, MMUEXT.PIN_L1_TABLE + level - 1, mfn)
/** mmu_update of the entry in a slot of a table. */
const update = (guest: PaeGuest, table: number, slot: number, low: number, high = 0): number =>
  guest.call('mmu_update', guest.words(PLACE.DATA, table * 4096 + slot * 8, 0, low, high), 1, 0, DOMID.SELF)
const entry = (mfn: number, flags: number = PTE.PRESENT): number => ((mfn << 12) | flags) >>> 0
/** Frames of the guest that nothing maps. */
const SPARE = 50
const l2Flags = PTE.PRESENT | PTE.WRITABLE | PTE.USER

test('an operation of mmuext_op takes twelve bytes', () => {
  expect(Extended.size).toBe(12)
})

describe('tables of level 3', () => {
  attacks([
    ['four entries are checked and given all rights, what lies behind them is cleared', (g) => {
      const { l3, l2s } = g.tree(SPARE)
      g.poke(l3, 4, g.frames[0]!, WRITE)
      g.poke(l3, 511, 0xfffff, WRITE)
      const result = pin(g, 3, l3)
      return [result, g.peek(l3, 4), g.peek(l3, 511), Number(g.peek(l3, 0) & 0xfffn), [l3, ...l2s].map((mfn) => g.hypervisor.frameInfo(mfn).type)]
    }, [0, 0n, 0n, PTE.PRESENT | PTE.WRITABLE | PTE.USER, ['l3', 'l2', 'l2', 'l2', 'l2']]],
    ['the hypervisor\'s slots are written over whatever stood there', (g) => {
      const { l3, l2s } = g.tree(SPARE)
      g.poke(l2s[3]!, 428, g.frames[0]!, l2Flags)
      g.poke(l2s[3]!, 511, g.frames[0]!, l2Flags)
      const own = g.peek(g.frames[TABLES.xen]!, 428)
      return [pin(g, 3, l3), g.peek(l2s[3]!, 428) === own, own !== 0n, g.peek(l2s[3]!, 511)]
    }, [0, true, true, 0n]],
    ['the last entry is not there', (g) => {
      const { l3 } = g.tree(SPARE)
      g.poke(l3, 3, 0, 0)
      return pin(g, 3, l3)
    }, -EINVAL],
    ['the last table serves another entry too', (g) => {
      const { l3, l2s } = g.tree(SPARE)
      g.poke(l3, 0, l2s[3]!, PTE.PRESENT)
      return pin(g, 3, l3)
    }, -EINVAL],
    ['the last table serves the guest\'s own level-3 table already', (g) => {
      const { l3 } = g.tree(SPARE)
      g.poke(l3, 3, g.frames[TABLES.xen]!, PTE.PRESENT)
      return pin(g, 3, l3)
    }, -EINVAL],
    ['the last table is pinned as an ordinary one', (g) => {
      const { l3, l2s } = g.tree(SPARE)
      return [pin(g, 2, l2s[3]!), pin(g, 3, l3)]
    }, [0, -EINVAL]],
    ['the table with the hypervisor\'s mappings is pinned as an ordinary one', (g) => pin(g, 2, g.frames[TABLES.xen]!), -EINVAL],
    ['an ordinary table is shared by three entries', (g) => {
      const { l3, l2s } = g.tree(SPARE)
      g.poke(l3, 1, l2s[0]!, PTE.PRESENT)
      g.poke(l3, 2, l2s[0]!, PTE.PRESENT)
      return pin(g, 3, l3)
    }, 0],
    ['flags that it may not have, one by one', (g) => [PTE.PWT, PTE.PCD, PTE.LARGE, PTE.GLOBAL].map((flag) => {
      const { l3, l2s } = g.tree(SPARE)
      g.poke(l3, 1, l2s[1]!, PTE.PRESENT | flag)
      return pin(g, 3, l3)
    }), [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
    ['bits above the frame, one by one', (g) => [PTE_HIGH_NX, 0x4000_0000, 0x10_0000].map((high) => {
      const { l3 } = g.tree(SPARE)
      g.host.machine.memory.view.setUint32(l3 * 4096 + 8 + 4, high >>> 0, true)
      return pin(g, 3, l3)
    }), [-EINVAL, -EINVAL, -EINVAL]],
    ['it maps itself', (g) => {
      const { l3 } = g.tree(SPARE)
      g.poke(l3, 0, l3, PTE.PRESENT)
      return pin(g, 3, l3)
    }, -EINVAL],
    ['a live one\'s last entry, and one behind it, are changed', (g) => {
      const l3 = g.frames[TABLES.l3]!
      return [update(g, l3, 3, 0), update(g, l3, 3, entry(g.frames[TABLES.xen]!)), update(g, l3, 4, entry(g.frames[TABLES.l2]!)), update(g, l3, 511, 0)]
    }, [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
    ['a live one\'s other entries are changed, and given all rights', (g) => {
      const l3 = g.frames[TABLES.l3]!
      const result = [update(g, l3, 2, 0), update(g, l3, 2, entry(g.frames[TABLES.l2c]!)), update(g, l3, 1, entry(g.frames[TABLES.l2b]!, PTE.PRESENT | PTE.PCD))]
      return [...result, Number(g.peek(l3, 2) & 0xfffn)]
    }, [0, 0, -EINVAL, PTE.PRESENT | PTE.WRITABLE | PTE.USER]],
    ['the table with the hypervisor\'s mappings is put in another place', (g) => update(g, g.frames[TABLES.l3]!, 2, entry(g.frames[TABLES.xen]!)), -EINVAL],
  ])
})

describe('tables of level 2 and 1', () => {
  attacks([
    ['a slot of the hypervisor\'s is changed', (g) => {
      const xen = g.frames[TABLES.xen]!
      return [update(g, xen, 428, 0), update(g, xen, 511, entry(g.frames[TABLES.l1]!, l2Flags)), update(g, xen, 427, entry(g.frames[TABLES.l1]!, l2Flags))]
    }, [-EPERM, -EPERM, 0]],
    ['the hypervisor\'s own level-1 table is mapped as one\'s own', (g) => {
      const own = Number(g.peek(g.frames[TABLES.xen]!, 428) >> 12n)
      return [update(g, g.frames[TABLES.l2]!, 9, entry(own, l2Flags)), update(g, g.frames[TABLES.l1]!, 9, entry(own, READ))]
    }, [-EINVAL, -EBUSY]],
    ['tables are mapped recursively, the hypervisor\'s among them, to read', (g) => {
      const xen = g.frames[TABLES.xen]!
      const tables = [TABLES.l2, TABLES.l2b, TABLES.l2c, TABLES.xen].map((index) => g.frames[index]!)
      return tables.map((table, i) => update(g, xen, 400 + i, entry(table)))
    }, [0, 0, 0, 0]],
    ['recursively to write', (g) => update(g, g.frames[TABLES.xen]!, 400, entry(g.frames[TABLES.l2]!, l2Flags)), -EINVAL],
    ['a large page, and cache attributes', (g) => [PTE.LARGE, PTE.PCD, PTE.PWT].map((flag) => update(g, g.frames[TABLES.l2]!, 5, entry(g.frames[SPARE]!, l2Flags | flag))), [-EINVAL, -EINVAL, -EINVAL]],
    ['a table is mapped writable', (g) => [TABLES.l3, TABLES.xen, TABLES.l1].map((index) => update(g, g.frames[TABLES.l1]!, 9, entry(g.frames[index]!, WRITE))), [-EBUSY, -EBUSY, -EBUSY]],
    ['entries keep their rights: a page of the kernel\'s stays the kernel\'s', (g) => {
      const result = g.call('update_va_mapping', BASE + 20 * 4096 + 4096, entry(g.frames[SPARE]!, WRITE), 0, 0)
      return [result, g.peek(g.frames[TABLES.l1]!, (BASE >> 12) + 21) & 0xfffn]
    }, [0, BigInt(WRITE)]],
    ['update_va_mapping takes its value in two registers, and its flags in a third', (g) => {
      const result = g.call('update_va_mapping', BASE + 21 * 4096, entry(g.frames[SPARE]!, READ), PTE_HIGH_NX, 2)
      return [result, g.peek(g.frames[TABLES.l1]!, (BASE >> 12) + 21) >> 63n]
    }, [0, 1n]],
    ['a mapping in the hypervisor\'s hole', (g) => [g.call('update_va_mapping', M2P, entry(g.frames[SPARE]!, WRITE), 0, 0), g.call('update_va_mapping', 0xffff_f000, 0, 0, 0)], [-EINVAL, -EINVAL]],
    ['a frame of another domain\'s, of the hypervisor\'s, of a vCPU\'s table', (g) => {
      const other = new PaeGuest({ host: g.host })
      other.hypervisor.pauseDomain(other.domid)
      const root = Number(g.processor.registers.controlLow(3)) >>> 12
      return [other.frames[3]!, g.host.machine.memory.firstFrame, root].map((mfn) => update(g, g.frames[TABLES.l1]!, 9, entry(mfn, READ)))
    }, [-EBUSY, -EBUSY, -EBUSY]],
    ['a vCPU\'s table of level 4 is changed, pinned, unpinned, cleared', (g) => {
      const root = g.processor.registers.controlLow(3) >>> 12
      return [update(g, root, 1, entry(g.frames[TABLES.l3]!)), pin(g, 3, root), extended(g, MMUEXT.UNPIN_TABLE, root), extended(g, MMUEXT.CLEAR_PAGE, root)]
    }, [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
  ])
})

describe('switching tables', () => {
  attacks([
    ['to another level-3 table and back, which CR3 tells', (g) => {
      const { l3, l2s } = g.tree(SPARE)
      g.poke(l2s[0]!, 0, g.frames[TABLES.l1]!, l2Flags)
      const results = [extended(g, MMUEXT.NEW_BASEPTR, l3)]
      g.run('mov %cr3,%ecx')
      return [...results, g.get('rcx') >>> 12 === l3, extended(g, MMUEXT.NEW_BASEPTR, g.frames[TABLES.l3]!), g.hypervisor.frameInfo(l3).typeCount]
    }, [0, true, 0, 0]],
    ['to what is no level-3 table of its own', (g) => [g.frames[TABLES.l2]!, g.frames[TABLES.l1]!, g.frames[SPARE]!, 0, 0xf_ffff].map((mfn) => extended(g, MMUEXT.NEW_BASEPTR, mfn)), [-EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL]],
    ['a table for processes, and tables of a fourth level', (g) => [extended(g, MMUEXT.NEW_USER_BASEPTR, g.frames[TABLES.l3]!), extended(g, MMUEXT.PIN_L4_TABLE, g.frames[SPARE]!)], [-EINVAL, 0]],
    ['away from under its own feet: the kernel faults for good', (g) => {
      const { l3 } = g.tree(SPARE)
      extended(g, MMUEXT.NEW_BASEPTR, l3)
      g.hypervisor.run({ instructions: 2000 })
      return g.hypervisor.domainInfo(g.domid).shutdownReason
    }, 3],
  ])
})

describe('descriptors', () => {
  const gdt = (g: PaeGuest, ...pairs: number[]): number => {
    g.host.machine.memory.bytes.fill(0, g.frames[SPARE]! * 4096, (g.frames[SPARE]! + 1) * 4096)
    pairs.forEach((word, i) => g.host.machine.memory.view.setUint32(g.frames[SPARE]! * 4096 + 8 + i * 4, word >>> 0, true))
    return g.call('set_gdt', g.words(PLACE.DATA, g.frames[SPARE]!), 512)
  }
  attacks([
    ['privilege levels below 1 are raised, others stay', (g) => {
      const result = gdt(g, 0xffff, 0x00cf_9300, 0xffff, 0x00cf_d300, 0xffff, 0x00cf_f300)
      return [result, [1, 2, 3].map((slot) => Number(g.peek(g.frames[SPARE]!, slot) >> 45n) & 3)]
    }, [0, [1, 2, 3]]],
    ['64-bit code and data, a TSS, an LDT, a gate to the hypervisor', (g) => [
      gdt(g, 0xffff, 0x00af_bb00), gdt(g, 0xffff, 0x00ef_b300), gdt(g, 0xffff, 0x0000_8900), gdt(g, 0xffff, 0x0000_8200), gdt(g, 0xe008_0000, 0x0000_ac00),
    ], [-EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL]],
    ['a call gate is kept with its level in the selector, and leads to no ring but the guest\'s', (g) => {
      const result = gdt(g, 0xe019_1234, 0x0010_ec05)
      const gate = g.peek(g.frames[SPARE]!, 1)
      g.run('lcall $0xb,$0')
      // What it finds there is zeros, which write to where EAX leads.
      return [result, (gate >> 16n) & 0xffffn, (gate >> 45n) & 3n, g.trapped, g.stack(3).map((word) => word & 0xffff_ffff)]
    }, [0, 0xe01bn, 0n, VECTOR.PF, [2, 0x10_1234, COMPAT_FLAT.KERNEL_CS | 0x1_0000]]],
    ['an old kernel\'s segments up to where a 32-bit hypervisor began are widened', (g) => {
      const result = gdt(g, 0x57ff, 0x00cf_b300, 0x5800, 0x00cf_b300, 0x57ff, 0x00cf_b301)
      return [result, [1, 2, 3].map((slot) => Number(g.peek(g.frames[SPARE]!, slot) & 0xffffn))]
    }, [0, [0x57ff, 0xffff, 0x57ff]]],
    ['update_descriptor takes address and value in two registers each', (g) => {
      gdt(g, 0, 0)
      const at = (g.frames[SPARE]! << 12) + 16
      const results = [g.call('update_descriptor', at, 0, 0xffff, 0x00cf_9300), g.call('update_descriptor', at, 0, 0xffff, 0x00af_9b00), g.call('update_descriptor', at, 1, 0, 0)]
      return [...results, Number(g.peek(g.frames[SPARE]!, 2) >> 32n)]
    }, [0, -EINVAL, -EINVAL, 0x00cf_b300]],
    ['a GDT in a page that is mapped writable', (g) => g.call('set_gdt', g.words(PLACE.DATA, g.frames[5]!), 10), -EINVAL],
    ['its segments can be loaded, the others\' cannot', (g) => {
      gdt(g, ((PLACE.DATA & 0xffff) << 16) | 0xff, 0x0040_b300 | (PLACE.DATA >>> 16))
      g.words(PLACE.DATA + 16, 0x1234_5678)
      g.run('mov $9,%eax; mov %eax,%fs; mov %fs:16,%ecx; mov $0xe00b,%eax; mov %eax,%gs')
      return [g.get('rcx'), g.trapped, g.stack(1)]
    }, [0x1234_5678, VECTOR.GP, [0xe008]]],
    ['an LDT is read through its address', (g) => {
      g.host.machine.memory.view.setUint32(g.frames[SPARE]! * 4096 + 8, 0xffff, true)
      g.host.machine.memory.view.setUint32(g.frames[SPARE]! * 4096 + 12, 0x00cf_9300, true)
      const results = [g.call('update_va_mapping', BASE + 21 * 4096, entry(g.frames[SPARE]!, READ), 0, 2), extended(g, MMUEXT.SET_LDT, BASE + 21 * 4096, 512)]
      g.run('mov $0xd,%eax; mov %eax,%fs')
      return [...results, g.trapped, g.hypervisor.frameInfo(g.frames[SPARE]!).type]
    }, [0, 0, -1, 'segdesc']],
  ])
})

describe('pointers', () => {
  attacks([
    ['into the hypervisor\'s hole, to read and to write', (g) => [
      g.call('mmuext_op', M2P, 1, 0, DOMID.SELF), g.call('set_trap_table', 0xffff_fff0), g.call('xen_version', 6, M2P), g.call('set_gdt', 0xf600_0000, 10), g.call('multicall', M2P, 1),
    ], [-EFAULT, -EFAULT, -EFAULT, -EFAULT, -EFAULT]],
    ['that run over the end of the address space', (g) => [g.call('multicall', 0xffff_fffc, 2), g.call('console_io', 0, 64, 0xffff_ffe0)], [-EFAULT, -EFAULT]],
    ['of the other kind\'s calls, and of no call', (g) => [g.call('set_segment_base', 0, 0), g.call('hvm_op', 0, 0) < 0, (() => {
      g.set('rax', 0xffff_ffff)
      g.run('int $0x82')
      return g.get('rax') | 0
    })()], [-ENOSYS, true, -ENOSYS]],
    ['flushing a cache that is not its own', (g) => extended(g, MMUEXT.FLUSH_CACHE), -EACCES],
    ['a multicall of entries of thirty-two bytes', (g) => {
      g.words(PLACE.DATA + 0x100, 17, 0, 0, 0, 0, 0, 0, 0, 17, 0, 99, 0, 0, 0, 0, 0)
      const result = g.call('multicall', PLACE.DATA + 0x100, 2)
      return [result, g.read(PLACE.DATA + 0x104, 1)[0]! > 0x40000, g.read(PLACE.DATA + 0x124, 1)[0]! | 0]
    }, [0, true, -ENOSYS]],
  ])

  test('long batches go on where they were left, by the same instruction', () => {
    const guest = new PaeGuest({ host: new PaeHost({ portion: 40 }) })
    const list = PLACE.DATA
    for (let i = 0; i < 200; i += 1) guest.words(list + i * 16, guest.frames[TABLES.l1]! * 4096 + 300 * 8, 0, i % 2 === 0 ? entry(guest.frames[SPARE]!, READ) : 0, 0)
    guest.call('mmu_update', list, 200, PLACE.USER_STACK, DOMID.SELF)
    guest.hypervisor.run({ instructions: 100_000 })
    expect(guest.get('rax')).toBe(0)
    expect(guest.read(PLACE.USER_STACK, 1)).toEqual([200])
    expect(guest.host.harm()).toEqual([])
  })
})

describe('the writes of a guest that asks for writable page tables', () => {
  const writable = (guest: PaeGuest): number => guest.call('vm_assist', 0, 2)
  attacks([
    ['one entry by halves, and what it may not have', (g) => {
      const at = BASE + 37 * 4096 + ((BASE >> 12) + 21) * 8
      const spare = entry(g.frames[SPARE]!, WRITE)
      const results = [writable(g)]
      g.run(`movl $0,${at}; movl $${PTE_HIGH_NX | 0},${at + 4}; movl $${spare | 0},${at}`)
      results.push(g.trapped)
      g.run(`movl $${entry(g.frames[TABLES.l1]!, WRITE) | 0},${at}`)
      return [...results, g.trapped, g.peek(g.frames[TABLES.l1]!, (BASE >> 12) + 21) === (1n << 63n) + BigInt(spare)]
    }, [0, -1, VECTOR.PF, true]],
    ['its table of level 3 stays read-only', (g) => {
      writable(g)
      g.run(`movl $0,${BASE + 32 * 4096}`)
      return [g.trapped, g.stack(1)]
    }, [VECTOR.PF, [3]]],
  ])
})

describe('contexts', () => {
  const refused: readonly [string, Parameters<PaeGuest['context']>[0]][] = [
    ['virtual-8086 mode', { user: { ...new PaeGuest().context().user, rflags: 0x20202n } }],
    ['a level-3 table that is none', { kernelTable: 1 as Mfn }],
    ['an LDT that begins within a page', { ldtBase: 8n, ldtEntries: 1 }],
    ['a GDT in frames of nobody', { gdtFrames: [7], gdtEntries: 10 }],
    ['a GDT that is too long', { gdtFrames: [], gdtEntries: 0xe00_0000 }],
  ]
  test.each(refused)('with %s are refused and leave nothing', (_what, change) => {
    const host = new PaeHost()
    expect(() => new PaeGuest({ host, context: change ?? {} })).toThrow(/refused|INVALID|invalid|cannot/i)
    expect(host.harm()).toEqual([])
  })

  test('stacks and code of rings that do not fit become the kernel\'s flat ones', () => {
    const { user } = new PaeGuest().context()
    const guest = new PaeGuest({ context: { user: { ...user, cs: 0xe008, ss: 0xe010, ds: 0xe013 } } })
    expect(guest.hypervisor.getVcpuContext(guest.domid, 0).user).toMatchObject({ cs: COMPAT_FLAT.KERNEL_CS, ss: COMPAT_FLAT.KERNEL_SS, ds: 0 })
    expect(guest.host.harm()).toEqual([])
  })
})
