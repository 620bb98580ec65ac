/**
 * Writable page tables on the real processor: what the guest's own instructions store into a level-1 table is what Xen
 * lets through, and nothing else. The entry that they write is slot 400, which is empty at first.
 */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { FLAT } from '../../../../../src/abi/index.ts'
import type { GprName } from '../../../../../src/x86/index.ts'
import { PTE, RFLAGS, SEGMENT } from '../../../../../src/x86/index.ts'
import { TableGuest, HALT, PAGE, type TableGuestOptions } from '../../../../support/table-guest.ts'
import { READ, TABLE, WRITE } from '../../../../support/hypervisor-host.ts'
import { MachineHost, TABLES } from '../../../../support/machine-host.ts'

const SLOT = 400
const le32 = (n: number): string => Buffer.from(Uint32Array.of(n).buffer).toString('hex')

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
    { what: 'MOV of 8 bytes', code: '488907', after: value },
    { what: 'MOV of 8 bytes into an empty entry', code: '488907', before: 'empty', after: value },
    { what: 'MOV of 4 bytes', code: '8907', after: ({ old, value: v }) => (old >> 32n << 32n) | (v & 0xffff_ffffn) },
    { what: 'MOV of 4 bytes to the upper half', code: 'c7470400000080', after: ({ old }) => old | (1n << 63n) },
    { what: 'MOV of 2 bytes', code: '66c747060002', before: 'empty', after: () => 0x200n << 48n },
    { what: 'MOV of 1 byte', code: 'c60760', after: ({ old }) => (old & ~0xffn) | 0x60n },
    { what: 'MOV of 1 byte within the entry', code: 'c6470702', before: 'empty', after: () => 2n << 56n },
    { what: 'MOV of an immediate that empties it', code: '48c70700000000', after: () => 0n },
    { what: 'MOVNTI', code: '480fc307', after: value },
    { what: 'XCHG', code: '488707', after: value, registers: ({ old }) => ({ rax: old }) },
    { what: 'LOCK XADD', code: 'f0480fc107', before: 'empty', after: value, registers: () => ({ rax: 0n }) },
    { what: 'CMPXCHG that succeeds', code: '488b0f 4891 f0480fb10f', after: value, registers: ({ old }) => ({ rax: old }) },
    { what: 'CMPXCHG that fails', code: '480fb10f', after: ({ old }) => old, registers: ({ old }) => ({ rax: old }) },
    { what: 'CMPXCHG8B', code: '488b1f 89c1 488b07 89da 0fc70f', after: ({ old }) => old },
    { what: 'LOCK AND', code: 'f0488127fdffffff', after: ({ old }) => old & ~2n },
    { what: 'OR', code: '810f00020000', after: ({ old }) => old | FREE_BIT },
    { what: 'XOR of a byte', code: '807f0102'.replace('7f', '77'), after: ({ old }) => old ^ FREE_BIT },
    { what: 'ADD', code: '810700020000', after: ({ old }) => old + FREE_BIT },
    { what: 'SUB', code: '832f01', after: ({ old }) => old - 1n },
    { what: 'BTS with a register', code: 'b909000000 0fab0f', after: ({ old }) => old | FREE_BIT },
    { what: 'BTR with an immediate', code: '480fba3700', after: ({ old }) => old & ~1n },
    { what: 'LOCK BTC', code: 'f00fba3f09', after: ({ old }) => old ^ FREE_BIT },
    { what: 'NEG of an entry that is not present', code: '48f71f', before: 'free', after: () => -FREE_BIT & 0xffff_ffff_ffff_ffffn },
    { what: 'SETNC', code: 'f9 0f9307', before: 'empty', after: () => 0n },
    { what: 'DEC of the lowest byte', code: 'fe0f', after: ({ old }) => old - 1n },
    { what: 'SHL', code: '48d127', before: 'empty', after: () => 0n },
    { what: 'POP', code: '50 8f07', after: value },
    { what: 'STOSQ', code: '48ab', after: value, registers: ({ guest }) => ({ rdi: BigInt(guest.entryAt(SLOT) + 8) }) },
    { what: 'MOVSQ', code: '50 4889e6 48a5', after: value },
    { what: 'REP STOSQ over one entry, to the end', code: 'b901000000 f348ab', after: value, registers: () => ({ rcx: 0n }) },
    { what: 'PUSH onto the table', code: '488d6708 50', after: value, registers: ({ guest }) => ({ rsp: BigInt(guest.entryAt(SLOT)) }) },
    { what: 'PUSHFQ onto the table', code: 'f8 488d6708 9c', before: 'empty', after: () => 0x202n },
    { what: 'CALL onto the table', code: '488d6708 90 e800000000', before: 'empty', after: ({ guest }) => BigInt(guest.at(PAGE.code, 10)) },
    { what: 'MOVQ from a vector', code: '66480f6ec0 660fd607', after: value },
    { what: 'MOVSD', code: '66480f6ec0 f20f1107', after: value },
    { what: 'MOVD', code: '660f6ec0 660f7e07', after: ({ old, value: v }) => (old >> 32n << 32n) | (v & 0xffff_ffffn) },
    { what: 'MOVHPS', code: '66480f6ec0 660f6cc0 0f1707', after: value },
    { what: 'PEXTRQ', code: '66480f6ec0 66480f3a160700', after: value },
    { what: 'MOVQ from an MMX register', code: '480f6ec0 0f7f07 0f77', after: value },
    { what: 'FISTP of 8 bytes', code: '50 df2c24 df3f', after: value },
    { what: 'FSTP of 8 bytes', code: '50 dd0424 dd1f', before: 'empty', after: value },
    { what: 'FNSTCW to the upper half', code: 'd97f06', before: 'empty', after: () => 0x37fn << 48n },
    { what: 'STMXCSR', code: '0fae1f', before: 'empty', after: () => 0x1f80n },
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
    guest.execute(row.code + HALT)
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
    guest.execute(`f348ab ${HALT}`)
    expect([guest.state, guest.get('rcx'), guest.get('rdi')]).toEqual(['+3', 0n, BigInt(guest.entryAt(SLOT + 5))])
    for (let i = 0; i < 5; i += 1) expect(guest.entry(SLOT + i)).toBe(entryOf(guest, 50))
    guest.set('rsi', guest.entryAt(SLOT))
    guest.set('rcx', 3)
    guest.execute(`f348a5 ${HALT}`)
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
    guest.execute('ffe1')
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
    guest.execute(`48a5 ${HALT}`)
    expect([guest.state, guest.get('rsi')]).toEqual(['+2', BigInt(guest.at(20, 8))])
    expect(guest.entry(256 + 20)).toBe(entryOf(guest, 20, USER_READ))
    expect(guest.host.problems()).toEqual([])
  })

  test('a guest that single-steps is told behind it, and a breakpoint on the next instruction still holds', () => {
    const guest = boot()
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.processor.registers.setFlags(RFLAGS.IF | RFLAGS.TF)
    guest.execute(`488907 90 ${HALT}`)
    expect(guest.state).toBe('#1')
    expect(guest.entry(SLOT)).toBe(entryOf(guest, 50))
    expect(guest.host.machine.memory.view.getBigUint64(guest.place(PAGE.stack, 4096 - 40), true)).toBe(BigInt(guest.at(PAGE.code, 3)))
  })
})

describe('a store that is carried out is seen by whoever watches', () => {
  const store = (guest: TableGuest, more = ''): void => {
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.execute(`${more} 488907 ${HALT}`)
    expect([guest.state, guest.entry(SLOT)]).toEqual([`+${3 + more.replaceAll(' ', '').length / 2}`, entryOf(guest, 50)])
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
    guest.execute(`488906 90 ${HALT}`)
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
    store(guest, '488906')
    expect(told.slice(0, 4)).toEqual(['mov', `write ${guest.at(20).toString(16)}`, 'mov', 'jmp'])
  })

  test('by 32-bit code it is no other', () => {
    const guest = boot()
    const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
    guest.processor.registers.setSegment(SEGMENT.cs, { ...flat, selector: FLAT.KERNEL_CS32, attributes: 0xc0fb })
    guest.processor.registers.setSegment(SEGMENT.ds, { ...flat, selector: FLAT.KERNEL_DS32, attributes: 0xc0f3 })
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    // mov [edi],eax; then PUSHA onto the table, which is more than one store
    guest.execute(`8907 8d6740 60 ${HALT}`)
    expect([guest.state, guest.entry(SLOT)]).toEqual(['crashed', entryOf(guest, 50)])
    for (let slot = SLOT + 1; slot < SLOT + 9; slot += 1) expect(guest.entry(slot)).toBe(0n)
    expect(guest.host.problems()).toEqual([])
  })
})

describe('anything else gets the guest its page fault, with everything as before', () => {
  const rows: readonly (readonly [what: string, code: string])[] = [
    ['a store of 16 bytes', '0f1107'],
    ['an aligned store of 16 bytes', '0f2907'],
    ['MOVNTDQ', '660fe707'],
    ['CMPXCHG16B', '480fc70f'],
    ['MASKMOVDQU', '660f76c0 660ff7c0'],
    ['a store of 8 bytes across two entries', '48894704'],
    ['a store of 4 bytes that is not aligned', '894701'],
    ['a store of 2 bytes that is not aligned', '66894701'],
    ['a store into the page behind the table', '4881c79c060000 488907'],
    ['FXSAVE', '480fae07'],
    ['FNSAVE', 'dd37'],
    ['FNSTENV', 'd937'],
    ['FSTP of 10 bytes', 'd9e8 db3f'],
    ['FBSTP', 'd9e8 df37'],
  ]
  test.each(rows)('%s', (_, code) => {
    const { host, state } = beside()
    const guest = boot({ tables: (g) => g.poke(l1Of(g), SLOT, g.frames[51]!, USER_WRITE), host })
    const before = state()
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', entryOf(guest, 50))
    guest.set('rsi', guest.at(20))
    const entries = [SLOT - 1, SLOT, SLOT + 1, 511].map((slot) => guest.entry(slot))
    guest.execute(code + HALT)
    expect(guest.state).toBe('#14')
    expect([SLOT - 1, SLOT, SLOT + 1, 511].map((slot) => guest.entry(slot))).toEqual(entries)
    expect(host.problems()).toEqual([])
    expect(state()).toBe(before)
  })

  /** Completed, and then refused because of the value: everything that the instruction did is taken back. */
  const undone: readonly (readonly [what: string, setup: string, code: string])[] = [
    ['MOV', '', '488907'], ['XCHG', '', '488707'], ['XADD', '', '480fc107'], ['STOSQ', '', '48ab'],
    ['MOVSQ', '50 4889e6', '48a5'], ['REP MOVSQ', '50 4889e6 b902000000', 'f348a5'],
    ['CMPXCHG', '488b1f 4893', '480fb11f'], ['POP', '50', '8f07'],
    ['FISTP', '50 df2c24', 'df3f'], ['FSTP', '50 dd0424', 'dd1f'],
    ['MOVQ of a vector', '66480f6ec0', '660fd607'], ['ADD with its flags', '31db', '480107'],
  ]
  test.each(undone)('%s of an entry that is refused', (_, setup, code) => {
    const { host, victim, state } = beside()
    const guest = boot({ host })
    const before = state()
    const wanted = BigInt(victim.frames[21]! * 4096 + WRITE)
    guest.set('rdi', guest.entryAt(SLOT))
    guest.set('rax', wanted)
    // Up to the store, and then the store: what was before it is to be there behind it.
    const length = setup.replace(/ /g, '').length / 2
    guest.execute(`${setup} ${HALT}`)
    const general = [...'rax rcx rdx rbx rbp rsi rdi'.split(' ')].map((name) => guest.get(name as GprName))
    const fpu = Buffer.from(guest.processor.saveFpu()).toString('hex')
    const flags = guest.processor.registers.flags()
    guest.write(PAGE.code, code + HALT, length)
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
    guest.execute(`488907 ${HALT}`)
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
  /** mov rdi,at; mov [rdi],rax */
  const storeAt = (at: number): string => `48c7c7${le32(at)} 488907`
  /** mov rdi,0x100; mov qword [rdi+8],0x4141: what slot 0 of the table would map. */
  const use = `48c7c700010000 48c74708${le32(0x4141)}`
  /** Handlers of whatever comes: each time the next of these, whether the one before has faulted or not. */
  const exploit = `ffc3 ${[use, storeAt(ALIAS), storeAt(TABLE_AT), use, storeAt(TABLE_AT + 0x50), use].map((body, i) => {
    const hex = `${body} 0f0b`.replace(/ /g, '')
    return `83fb0${i + 1} 75${(hex.length / 2).toString(16).padStart(2, '0')} ${hex}`
  }).join('')} ebfe`
  const rows: readonly (readonly [what: string, registers: Partial<Record<GprName, number>>, code: string])[] = [
    ['ENTER that stores an entry and then looks for room through it', { rsp: TABLE_AT + 8 }, 'c8009f00'],
    ['ENTER that copies frames by way of an alias of the table', { rsp: TABLE_AT + 0x800, rbp: ALIAS + 0x40 }, 'c8000002'],
    ['ENTER with all levels', { rsp: TABLE_AT + 0x800, rbp: ALIAS + 0x100 }, 'c800001f'],
    ['a PUSH of what the entry before it maps', { rsp: TABLE_AT + 8, rdx: 0x100 }, 'ff32'],
    ['a CALL through the entry that it stores', { rsp: TABLE_AT + 8, rdx: 0x100 }, 'ff12'],
    ['MOVSQ from the alias to the table', { rdi: TABLE_AT, rsi: ALIAS + 0x50 }, '48a5'],
    ['REP MOVSQ over table and alias', { rdi: TABLE_AT, rsi: ALIAS + 0x800, rcx: 64 }, 'f348a5'],
    ['POP into the table from the alias', { rsp: ALIAS + 0x50, rdi: TABLE_AT }, '8f07'],
    ['CMPXCHG16B', { rdi: TABLE_AT }, '480fc70f'],
    ['FXSAVE over sixty-four entries', { rdi: TABLE_AT }, '480fae07'],
    ['an unaligned store across the page before and the table', { rdi: TABLE_AT - 4 }, '488907'],
    ['a vector across the table and the page behind it', { rdi: TABLE_AT + 0xff8 }, '0f1107'],
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
    guest.execute(`${code} 48c7c4${le32(guest.at(PAGE.stack + 1))} 0f0b`, 20_000)
    expect(host.problems()).toEqual([])
    expect(state()).toBe(before)
    expect(guest.entry(0) >> 12n & 0xff_ffffn).not.toBe(wanted >> 12n)
  })
})
