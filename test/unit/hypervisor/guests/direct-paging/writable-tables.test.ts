/**
 * Writable page tables on the real processor: what the guest's own instructions store into a level-1 table is what Xen
 * lets through, and nothing else. The entry that they write is slot 400, which is empty at first.
 */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { FLAT } from '../../../../../src/abi/index.ts'
import type { GprName } from '../../../../../src/x86/index.ts'
import { PTE, RFLAGS, SEGMENT } from '../../../../../src/x86/index.ts'
import { assemble } from '../../../../support/assembler.ts'
import { TableGuest, HALT, PAGE, type TableGuestOptions } from '../../../../support/table-guest.ts'
import { READ, TABLE, WRITE } from '../../../../support/hypervisor-host.ts'
import { MachineHost, TABLES } from '../../../../support/machine-host.ts'

const SLOT = 400

const boot = (options: TableGuestOptions = {}): TableGuest => new TableGuest(options)

/** A victim beside the attacker, and the proof that nothing of it has changed. */
function beside(): { host: MachineHost; victim: TableGuest; state: () => string } {
  const host = new MachineHost()
  const victim = boot({ host })
  host.hypervisor.pauseDomain(victim.domid)
  for (let page = 20; page < 30; page += 1) host.machine.memory.bytes.fill(0x5a, victim.place(page), victim.place(page) + 4096)
  const state = (): string => {
    const hash = createHash('sha256')
    for (const mfn of victim.frames) hash.update(host.machine.memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096))
    return hash.digest('hex')
  }
  return { host, victim, state }
}

const l1Of = (guest: TableGuest): number => guest.frames[TABLES.l1]!

/** What an entry holds that the hypervisor has nothing to adjust in; and a bit that means nothing to anybody. */
const USER_WRITE = WRITE | PTE.USER | PTE.GLOBAL
const USER_READ = READ | PTE.USER | PTE.GLOBAL
const FREE_BIT = 0x200n

const entryOf = (guest: TableGuest, frame: number, flags: number = USER_WRITE): bigint => BigInt(guest.frames[frame]! * 4096 + flags)

interface Values {
  readonly old: bigint
  readonly value: bigint
  readonly guest: TableGuest
}

interface Row {
  readonly what: string
  /** Hex; RDI leads to the entry, RAX holds the value of frame 50, RBX 1. */
  readonly code: string
  /** The entry before: of frame 51 unless it is empty, or holds nothing but the free bit. */
  readonly before?: 'empty' | 'free'
  /** The entry afterwards. */
  readonly after: (v: Values) => bigint
  readonly registers?: (v: Values) => Partial<Record<GprName, bigint>>
}

const value = ({ value: v }: Values): bigint => v

describe('an instruction that stores once into one entry is carried out', () => {
  const rows: readonly Row[] = [
    { what: 'MOV of 8 bytes', code: 'mov %rax,(%rdi)', after: value },
    { what: 'MOV of 8 bytes into an empty entry', code: 'mov %rax,(%rdi)', before: 'empty', after: value },
    { what: 'MOV of 4 bytes', code: 'mov %eax,(%rdi)', after: ({ old, value: v }) => (old >> 32n << 32n) | (v & 0xffff_ffffn) },
    { what: 'MOV of 4 bytes to the upper half', code: 'movl $0x80000000,0x4(%rdi)', after: ({ old }) => old | (1n << 63n) },
    { what: 'MOV of 2 bytes', code: 'movw $0x200,0x6(%rdi)', before: 'empty', after: () => 0x200n << 48n },
    { what: 'MOV of 1 byte', code: 'movb $0x60,(%rdi)', after: ({ old }) => (old & ~0xffn) | 0x60n },
    { what: 'MOV of 1 byte within the entry', code: 'movb $2,0x7(%rdi)', before: 'empty', after: () => 2n << 56n },
    { what: 'MOV of an immediate that empties it', code: 'movq $0,(%rdi)', after: () => 0n },
    { what: 'MOVNTI', code: 'movnti %rax,(%rdi)', after: value },
    { what: 'XCHG', code: 'xchg %rax,(%rdi)', after: value, registers: ({ old }) => ({ rax: old }) },
    { what: 'LOCK XADD', code: 'lock xadd %rax,(%rdi)', before: 'empty', after: value, registers: () => ({ rax: 0n }) },
    { what: 'CMPXCHG that succeeds', code: 'mov (%rdi),%rcx; xchg %rax,%rcx; lock cmpxchg %rcx,(%rdi)', after: value, registers: ({ old }) => ({ rax: old }) },
    { what: 'CMPXCHG that fails', code: 'cmpxchg %rcx,(%rdi)', after: ({ old }) => old, registers: ({ old }) => ({ rax: old }) },
    { what: 'CMPXCHG8B', code: 'mov (%rdi),%rbx; mov %eax,%ecx; mov (%rdi),%rax; mov %ebx,%edx; cmpxchg8b (%rdi)', after: ({ old }) => old },
    { what: 'LOCK AND', code: '.byte 0xf0,0x48,0x81,0x27,0xfd,0xff,0xff,0xff', after: ({ old }) => old & ~2n },
    { what: 'OR', code: 'orl $0x200,(%rdi)', after: ({ old }) => old | FREE_BIT },
    { what: 'XOR of a byte', code: 'xorb $2,0x1(%rdi)', after: ({ old }) => old ^ FREE_BIT },
    { what: 'ADD', code: 'addl $0x200,(%rdi)', after: ({ old }) => old + FREE_BIT },
    { what: 'SUB', code: 'subl $1,(%rdi)', after: ({ old }) => old - 1n },
    { what: 'BTS with a register', code: 'mov $9,%ecx; bts %ecx,(%rdi)', after: ({ old }) => old | FREE_BIT },
    { what: 'BTR with an immediate', code: 'btrq $0,(%rdi)', after: ({ old }) => old & ~1n },
    { what: 'LOCK BTC', code: 'lock btcl $9,(%rdi)', after: ({ old }) => old ^ FREE_BIT },
    { what: 'NEG of an entry that is not present', code: 'negq (%rdi)', before: 'free', after: () => -FREE_BIT & 0xffff_ffff_ffff_ffffn },
    { what: 'SETNC', code: 'stc; setae (%rdi)', before: 'empty', after: () => 0n },
    { what: 'DEC of the lowest byte', code: 'decb (%rdi)', after: ({ old }) => old - 1n },
    { what: 'SHL', code: 'shlq (%rdi)', before: 'empty', after: () => 0n },
    { what: 'POP', code: 'push %rax; pop (%rdi)', after: value },
    { what: 'STOSQ', code: 'stos %rax,%es:(%rdi)', after: value, registers: ({ guest }) => ({ rdi: BigInt(guest.entryAt(SLOT) + 8) }) },
    { what: 'MOVSQ', code: 'push %rax; mov %rsp,%rsi; movsq %ds:(%rsi),%es:(%rdi)', after: value },
    { what: 'REP STOSQ over one entry, to the end', code: 'mov $1,%ecx; rep stos %rax,%es:(%rdi)', after: value, registers: () => ({ rcx: 0n }) },
    { what: 'PUSH onto the table', code: 'lea 0x8(%rdi),%rsp; push %rax', after: value, registers: ({ guest }) => ({ rsp: BigInt(guest.entryAt(SLOT)) }) },
    { what: 'PUSHFQ onto the table', code: 'clc; lea 0x8(%rdi),%rsp; pushf', before: 'empty', after: () => 0x202n },
    { what: 'CALL onto the table', code: 'lea 0x8(%rdi),%rsp; nop; call 1f; 1:', before: 'empty', after: ({ guest }) => BigInt(guest.at(PAGE.code, 10)) },
    { what: 'MOVQ from a vector', code: 'movq %rax,%xmm0; movq %xmm0,(%rdi)', after: value },
    { what: 'MOVSD', code: 'movq %rax,%xmm0; movsd %xmm0,(%rdi)', after: value },
    { what: 'MOVD', code: 'movd %eax,%xmm0; movd %xmm0,(%rdi)', after: ({ old, value: v }) => (old >> 32n << 32n) | (v & 0xffff_ffffn) },
    { what: 'MOVHPS', code: 'movq %rax,%xmm0; punpcklqdq %xmm0,%xmm0; movhps %xmm0,(%rdi)', after: value },
    { what: 'PEXTRQ', code: 'movq %rax,%xmm0; pextrq $0,%xmm0,(%rdi)', after: value },
    { what: 'MOVQ from an MMX register', code: 'movq %rax,%mm0; movq %mm0,(%rdi); emms', after: value },
    { what: 'FISTP of 8 bytes', code: 'push %rax; fildll (%rsp); fistpll (%rdi)', after: value },
    { what: 'FSTP of 8 bytes', code: 'push %rax; fldl (%rsp); fstpl (%rdi)', before: 'empty', after: value },
    { what: 'FNSTCW to the upper half', code: 'fnstcw 0x6(%rdi)', before: 'empty', after: () => 0x37fn << 48n },
    { what: 'STMXCSR', code: 'stmxcsr (%rdi)', before: 'empty', after: () => 0x1f80n },
  ]
  test.each(rows)('$what', (row) => {
    const guest = boot({
      tables: (g) => {
        if (row.before === undefined) g.poke(l1Of(g), SLOT, g.frames[51]!, USER_WRITE)
        else if (row.before === 'free') g.poke(l1Of(g), SLOT, 0, Number(FREE_BIT))
      },
    })
    const old = guest.entry(SLOT)
    const v: Values = { old, value: entryOf(guest, 50), guest }
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', v.value)
    guest.set('rbx', 1)
    guest.execute(`${row.code}; ${HALT}`)
    expect(guest.state).toMatch(/^\+/)
    expect(guest.entry(SLOT)).toBe(row.after(v))
    for (const [name, expected] of Object.entries(row.registers?.(v) ?? {})) expect([name, guest.get(name as GprName)]).toEqual([name, expected])
    expect(guest.host.problems()).toEqual([])
  })

  test('REP STOSQ and REP MOVSQ write one entry after the other', () => {
    const guest = boot()
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.set('rcx', 5)
    guest.execute(`rep stos %rax,%es:(%rdi); ${HALT}`)
    expect([guest.state, guest.get('rcx'), guest.get('rdi')]).toEqual(['+3', 0n, BigInt(guest.entryAt(SLOT + 5))])
    for (let i = 0; i < 5; i += 1) expect(guest.entry(SLOT + i)).toBe(entryOf(guest, 50))
    guest.set('rsi', guest.entryAt(SLOT))
    guest.set('rcx', 3)
    guest.execute(`rep movsq %ds:(%rsi),%es:(%rdi); ${HALT}`)
    for (let i = 5; i < 8; i += 1) expect(guest.entry(SLOT + i)).toBe(entryOf(guest, 50))
    expect(guest.host.hypervisor.frameInfo(guest.frames[50]!).typeCount).toBe(9)
    expect(guest.host.problems()).toEqual([])
  })

  test('code in the table itself changes the table, and itself', () => {
    const guest = boot()
    // Each eight bytes begin with an even one, so that they are entries that are not present.
    // 48 89 07 (mov [rdi],rax) 90 90 90 eb 00; then what is overwritten before it is reached
    const words = guest.host.machine.memory.view
    words.setBigUint64(l1Of(guest) * 4096 + SLOT * 8, 0x00eb_9090_9007_8948n, true)
    words.setBigUint64(l1Of(guest) * 4096 + (SLOT + 1) * 8, 0x0000_0000_feeb_d0ffn & ~1n, true)
    guest.set('rdi', guest.entryAt(SLOT + 1))
    // 66 90 ff c3 eb fe: xchg ax,ax; inc ebx; jmp self
    guest.set('rax', 0xfeeb_c3ff_9066n)
    guest.set('rbx', 1)
    guest.set('rcx', guest.entryAt(SLOT))
    guest.execute('jmp *%rcx')
    expect(guest.get('rbx')).toBe(2n)
    expect(guest.entry(SLOT + 1)).toBe(0xfeeb_c3ff_9066n)
    expect(guest.processor.registers.rip()).toBe(guest.entryAt(SLOT + 1) + 4)
  })

  test('a store whose own read marks the entry that it replaces is made again, and once', () => {
    const guest = boot()
    // The entry maps the page that the value is read from, and has not been used yet.
    guest.poke(l1Of(guest), 256 + 20, guest.frames[20]!, PTE.PRESENT | PTE.WRITABLE | PTE.USER)
    guest.host.machine.memory.view.setBigUint64(guest.place(20), entryOf(guest, 20, USER_READ), true)
    guest.set('rsi', guest.at(20))
    guest.set('rdi', guest.entryAt(256 + 20))
    guest.execute(`movsq %ds:(%rsi),%es:(%rdi); ${HALT}`)
    expect([guest.state, guest.get('rsi')]).toEqual(['+2', BigInt(guest.at(20, 8))])
    expect(guest.entry(256 + 20)).toBe(entryOf(guest, 20, USER_READ))
    expect(guest.host.problems()).toEqual([])
  })

  test('a guest that single-steps is told behind it, and a breakpoint on the next instruction still holds', () => {
    const guest = boot()
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.processor.registers.setFlags(RFLAGS.IF | RFLAGS.TF)
    guest.execute(`mov %rax,(%rdi); nop; ${HALT}`)
    expect(guest.state).toBe('#1')
    expect(guest.entry(SLOT)).toBe(entryOf(guest, 50))
    expect(guest.host.machine.memory.view.getBigUint64(guest.place(PAGE.stack, 4096 - 40), true)).toBe(BigInt(guest.at(PAGE.code, 3)))
  })
})

describe('a store that is carried out is seen by whoever watches', () => {
  const store = (guest: TableGuest, more = ''): void => {
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.execute(`${more}; mov %rax,(%rdi); ${HALT}`)
    expect([guest.state, guest.entry(SLOT)]).toEqual([`+${3 + assemble(more).length}`, entryOf(guest, 50)])
    expect(guest.host.problems()).toEqual([])
  }

  test('the table counts as dirty for a migration', () => {
    const guest = boot()
    const { hypervisor } = guest.host
    hypervisor.enableLogDirty(guest.domid)
    hypervisor.readLogDirty(guest.domid, { clear: true })
    store(guest)
    expect(hypervisor.readLogDirty(guest.domid).has(TABLES.l1)).toBe(true)
  })

  test('breakpoints on data do not see it, and go on seeing what is the guest\'s own', () => {
    const guest = boot()
    for (const [register, at] of [[0, guest.entryAt(SLOT)], [1, guest.at(20)]] as const) expect(guest.call('set_debugreg', register, at)).toBe(0)
    // DR7: both enabled, for writes of 8 bytes.
    expect(guest.call('set_debugreg', 7, 0x0099_0005)).toBe(0)
    store(guest)
    guest.set('rsi', guest.at(20))
    guest.execute(`mov %rax,(%rsi); nop; ${HALT}`)
    expect([guest.state, guest.processor.registers.debugLow(6) & 0xf]).toEqual(['#1', 2])
  })

  test('a trace is told of the instruction, and of no store that has not reached memory', () => {
    const guest = boot()
    const told: string[] = []
    guest.processor.trace({
      instruction: ({ instruction }) => void told.push(instruction?.mnemonic ?? ''),
      memory: ({ kind, address }) => void told.push(`${kind} ${address.toString(16)}`),
    })
    guest.set('rsi', guest.at(20))
    store(guest, 'mov %rax,(%rsi)')
    expect(told.slice(0, 4)).toEqual(['mov', `write ${guest.at(20).toString(16)}`, 'mov', 'jmp'])
  })

  test('by 32-bit code it is no other', () => {
    const guest = boot()
    const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
    guest.processor.registers.setSegment(SEGMENT.cs, { ...flat, selector: FLAT.KERNEL_CS32, attributes: 0xc0fb })
    guest.processor.registers.setSegment(SEGMENT.ds, { ...flat, selector: FLAT.KERNEL_DS32, attributes: 0xc0f3 })
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    // PUSHA onto the table is more than one store.
    guest.execute(`mov %eax,(%edi); lea 0x40(%edi),%esp; pusha; ${HALT}`, { codeSize: 32 })
    expect([guest.state, guest.entry(SLOT)]).toEqual(['crashed', entryOf(guest, 50)])
    for (let slot = SLOT + 1; slot < SLOT + 9; slot += 1) expect(guest.entry(slot)).toBe(0n)
    expect(guest.host.problems()).toEqual([])
  })
})

describe('anything else gets the guest its page fault, with everything as before', () => {
  const rows: readonly (readonly [what: string, code: string])[] = [
    ['a store of 16 bytes', 'movups %xmm0,(%rdi)'],
    ['an aligned store of 16 bytes', 'movaps %xmm0,(%rdi)'],
    ['MOVNTDQ', 'movntdq %xmm0,(%rdi)'],
    ['CMPXCHG16B', 'cmpxchg16b (%rdi)'],
    ['MASKMOVDQU', 'pcmpeqd %xmm0,%xmm0; maskmovdqu %xmm0,%xmm0'],
    ['a store of 8 bytes across two entries', 'mov %rax,0x4(%rdi)'],
    ['a store of 4 bytes that is not aligned', 'mov %eax,0x1(%rdi)'],
    ['a store of 2 bytes that is not aligned', 'mov %ax,0x1(%rdi)'],
    ['a store into the page behind the table', 'add $0x69c,%rdi; mov %rax,(%rdi)'],
    ['FXSAVE', 'fxsave64 (%rdi)'],
    ['FNSAVE', 'fnsave (%rdi)'],
    ['FNSTENV', 'fnstenv (%rdi)'],
    ['FSTP of 10 bytes', 'fld1; fstpt (%rdi)'],
    ['FBSTP', 'fld1; fbstp (%rdi)'],
  ]
  test.each(rows)('%s', (_, code) => {
    const { host, state } = beside()
    const guest = boot({ tables: (g) => g.poke(l1Of(g), SLOT, g.frames[51]!, USER_WRITE), host })
    const before = state()
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.set('rsi', guest.at(20))
    const entries = [SLOT - 1, SLOT, SLOT + 1, 511].map((slot) => guest.entry(slot))
    guest.execute(`${code}; ${HALT}`)
    expect(guest.state).toBe('#14')
    expect([SLOT - 1, SLOT, SLOT + 1, 511].map((slot) => guest.entry(slot))).toEqual(entries)
    expect(host.problems()).toEqual([])
    expect(state()).toBe(before)
  })

  /** Completed, and then refused because of the value: everything that the instruction did is taken back. */
  const undone: readonly (readonly [what: string, setup: string, code: string])[] = [
    ['MOV', '', 'mov %rax,(%rdi)'], ['XCHG', '', 'xchg %rax,(%rdi)'], ['XADD', '', 'xadd %rax,(%rdi)'], ['STOSQ', '', 'stos %rax,%es:(%rdi)'],
    ['MOVSQ', 'push %rax; mov %rsp,%rsi', 'movsq %ds:(%rsi),%es:(%rdi)'], ['REP MOVSQ', 'push %rax; mov %rsp,%rsi; mov $2,%ecx', 'rep movsq %ds:(%rsi),%es:(%rdi)'],
    ['CMPXCHG', 'mov (%rdi),%rbx; xchg %rax,%rbx', 'cmpxchg %rbx,(%rdi)'], ['POP', 'push %rax', 'pop (%rdi)'],
    ['FISTP', 'push %rax; fildll (%rsp)', 'fistpll (%rdi)'], ['FSTP', 'push %rax; fldl (%rsp)', 'fstpl (%rdi)'],
    ['MOVQ of a vector', 'movq %rax,%xmm0', 'movq %xmm0,(%rdi)'], ['ADD with its flags', 'xor %ebx,%ebx', 'add %rax,(%rdi)'],
  ]
  test.each(undone)('%s of an entry that is refused', (_, setup, code) => {
    const { host, victim, state } = beside()
    const guest = boot({ host })
    const before = state()
    const wanted = BigInt(victim.frames[21]! * 4096 + WRITE)
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', wanted)
    // Up to the store, and then the store: what was before it is to be there behind it.
    const { length } = assemble(setup)
    guest.execute(`${setup}; ${HALT}`)
    const general = [...'rax rcx rdx rbx rbp rsi rdi'.split(' ')].map((name) => guest.get(name as GprName))
    const fpu = Buffer.from(guest.processor.saveFpu()).toString('hex')
    const flags = guest.processor.registers.flags()
    guest.write(PAGE.code, `${code}; ${HALT}`, { offset: length })
    guest.run(5000)
    expect(guest.state).toBe('#14')
    expect([...'rax rcx rdx rbx rbp rsi rdi'.split(' ')].map((name) => guest.get(name as GprName))).toEqual(general)
    expect(Buffer.from(guest.processor.saveFpu()).toString('hex')).toBe(fpu)
    // error code, rip, cs, flags on the stack
    const rsp = guest.place(PAGE.stack, Number(guest.get('rsp') & 0xfffn))
    expect(host.machine.memory.view.getBigUint64(rsp + 24, true)).toBe(BigInt(guest.at(PAGE.code, length)))
    expect(host.machine.memory.view.getUint32(rsp + 40, true) & 0xcd5).toBe(flags & 0xcd5)
    expect(guest.entry(SLOT)).toBe(0n)
    expect(host.problems()).toEqual([])
    expect(state()).toBe(before)
  })

  const values: readonly (readonly [what: string, value: (g: TableGuest, victim: TableGuest) => number])[] = [
    ["another domain's frame", (_g, victim) => victim.frames[21]! * 4096 + WRITE],
    ["another domain's frame to read", (_g, victim) => victim.frames[21]! * 4096 + READ],
    ['the table itself for writing', (g) => l1Of(g) * 4096 + WRITE],
    ['a table of level 4 for writing', (g) => g.frames[TABLES.l4]! * 4096 + WRITE],
    ["the hypervisor's memory", (g) => g.host.machine.memory.firstFrame * 4096 + WRITE],
    ["the machine's own memory", () => 0x2000 + WRITE],
    ['cache attributes', (g) => g.frames[50]! * 4096 + WRITE + PTE.PCD],
  ]
  test.each(values)('an entry of %s', (_, valueOf) => {
    const { host, victim, state } = beside()
    const guest = boot({ host })
    const before = state()
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', valueOf(guest, victim))
    guest.execute(`mov %rax,(%rdi); ${HALT}`)
    expect([guest.state, guest.entry(SLOT)]).toEqual(['#14', 0n])
    expect([host.problems(), state()]).toEqual([[], before])
  })
})

describe('no instruction leaves a translation behind that the tables do not hold', () => {
  /** Slot 10 of the low table maps it read-only at 0xa000, slot 9 is an ordinary page, L2 slot 1 maps the table again. */
  const TABLE_AT = 0xa000
  const ALIAS = 0x20_a000
  const tables = (g: TableGuest): void => {
    g.poke(g.frames[TABLES.l2]!, 1, l1Of(g), TABLE)
    g.poke(l1Of(g), 10, l1Of(g), READ | PTE.DIRTY)
    g.poke(l1Of(g), 9, g.frames[21]!, WRITE)
  }
  const storeAt = (at: number): string => `mov $${at},%rdi; mov %rax,(%rdi)`
  /** A store to what slot 0 of the table would map. */
  const use = 'mov $0x100,%rdi; movq $0x4141,8(%rdi)'
  /** Handlers of whatever comes: each time the next of these, whether the one before has faulted or not. */
  const exploit = `inc %ebx; ${[use, storeAt(ALIAS), storeAt(TABLE_AT), use, storeAt(TABLE_AT + 0x50), use].map((body, i) =>
    `cmp $${i + 1},%ebx; jne 1f; ${body}; ud2; 1:`).join(' ')} 1: jmp 1b`
  const rows: readonly (readonly [what: string, registers: Partial<Record<GprName, number>>, code: string])[] = [
    ['ENTER that stores an entry and then looks for room through it', { rsp: TABLE_AT + 8 }, 'enter $0x9f00,$0'],
    ['ENTER that copies frames by way of an alias of the table', { rsp: TABLE_AT + 0x800, rbp: ALIAS + 0x40 }, 'enter $0,$2'],
    ['ENTER with all levels', { rsp: TABLE_AT + 0x800, rbp: ALIAS + 0x100 }, 'enter $0,$31'],
    ['a PUSH of what the entry before it maps', { rsp: TABLE_AT + 8, rdx: 0x100 }, 'push (%rdx)'],
    ['a CALL through the entry that it stores', { rsp: TABLE_AT + 8, rdx: 0x100 }, 'call *(%rdx)'],
    ['MOVSQ from the alias to the table', { rdi: TABLE_AT, rsi: ALIAS + 0x50 }, 'movsq %ds:(%rsi),%es:(%rdi)'],
    ['REP MOVSQ over table and alias', { rdi: TABLE_AT, rsi: ALIAS + 0x800, rcx: 64 }, 'rep movsq %ds:(%rsi),%es:(%rdi)'],
    ['POP into the table from the alias', { rsp: ALIAS + 0x50, rdi: TABLE_AT }, 'pop (%rdi)'],
    ['CMPXCHG16B', { rdi: TABLE_AT }, 'cmpxchg16b (%rdi)'],
    ['FXSAVE over sixty-four entries', { rdi: TABLE_AT }, 'fxsave64 (%rdi)'],
    ['an unaligned store across the page before and the table', { rdi: TABLE_AT - 4 }, 'mov %rax,(%rdi)'],
    ['a vector across the table and the page behind it', { rdi: TABLE_AT + 0xff8 }, 'movups %xmm0,(%rdi)'],
  ]
  test.each(rows)('%s', (_, registers, code) => {
    const { host, victim, state } = beside()
    const guest = boot({ tables, host })
    const before = state()
    const wanted = BigInt(victim.frames[22]! * 4096 + WRITE + PTE.USER)
    guest.set('rbp', wanted)
    guest.set('rax', wanted)
    for (const [name, at] of Object.entries(registers)) guest.set(name as GprName, at)
    guest.set('rbx', 0)
    for (let i = 0; i < 5; i += 1) guest.write(PAGE.handlers + i, exploit)
    guest.execute(`${code}; mov $${guest.at(PAGE.stack + 1)},%rsp; ud2`, { instructions: 20_000 })
    expect(host.problems()).toEqual([])
    expect(state()).toBe(before)
    expect(guest.entry(0) >> 12n & 0xff_ffffn).not.toBe(wanted >> 12n)
  })
})
