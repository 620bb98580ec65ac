/** The attacks of the fairness benchmark: what each guest executes for ever, and what it has prepared. */
import {
  CONSOLEIO, DOMID, EVTCHNOP, FLAT, GNTMAP, GNTTABOP, GnttabCopy, GnttabCopyPtr, GnttabMapGrantRef, HYPERVISOR, MMUEXT, MmuextOp,
  MulticallEntry, SCHEDOP, TrapInfo, UVMF, VCPUOP, XENMEM, XenMemoryReservation,
} from '../../../src/abi/index.ts'
import { READ, TABLE, WRITE } from '../../support/hypervisor-host.ts'
import { BASE, type HostileGuest, type HostileOptions, PAGE, call, little, move } from './hostile-guest.ts'

/** One attack. */
export interface Attack {
  readonly name: string
  readonly body: readonly number[]
  readonly options: HostileOptions
  /** Turns before it comes to what is meant, where that is not at once. */
  readonly warm?: number
}

const at = (frame: number, offset = 0): number => BASE + frame * 4096 + offset
const [, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7] as const
/** A page of data of the guest's. */
const DATA = 4
/** The table that maps the guest's frames, mapped read-only at its own place. */
const L1 = 43

/** Loads, stores, arithmetic and jumps as compilers make them: what everything is measured against. */
export const PLAIN: readonly number[] = [
  ...move(RDI, at(DATA)), // loop: mov (rdi), rax; add rcx, rax; xor rbx, rax; mov rax, 8(rdi); inc rcx; mov rax, rbx; shl $5, rbx
  0x48, 0x8b, 0x07, 0x48, 0x01, 0xc8, 0x48, 0x31, 0xd8, 0x48, 0x89, 0x47, 0x08, 0x48, 0xff, 0xc1, 0x48, 0x89, 0xc3, 0x48, 0xc1, 0xe3, 0x05,
  0x85, 0xc9, 0x79, 0x02, 0x31, 0xc9, // test ecx, ecx; jns +2; xor ecx, ecx
  0x48, 0x39, 0xd8, 0x0f, 0x94, 0xc2, // cmp rbx, rax; sete dl
  0xe8, 0x02, 0x00, 0x00, 0x00, 0xeb, 0x02, 0xff, 0xc8, 0xc3, // call +2; jmp +2; dec eax; ret -> falls behind
].slice(0, -10)

const simple = (name: string, body: readonly number[], options: HostileOptions = {}): Attack => ({ name, body, options })

/** An instruction of the x87 on two awkward numbers: loaded, operated on, popped. */
const float = (name: string, operation: readonly number[], both = false): Attack => simple(
  name, [0xdb, 0x2f, ...(both ? [0xdb, 0x6f, 0x10] : []), ...operation, 0xdd, 0xd8, ...(both ? [0xdd, 0xd8] : [])],
  {
    setup: move(RDI, at(DATA)),
    prepare: (guest) => {
      guest.view.setBigUint64(guest.place(DATA), 0xc90f_daa2_2168_c235n, true)
      guest.view.setUint16(guest.place(DATA, 8), 0x3ffd, true)
      guest.view.setBigUint64(guest.place(DATA, 16), 0xffff_ffff_ffff_ffffn, true)
      guest.view.setUint16(guest.place(DATA, 24), 0x7ffe, true)
    },
  },
)

/** The x87 with what slow instructions it has. */
const floats: readonly Attack[] = [
  float('fsin', [0xd9, 0xfe]), float('fcos', [0xd9, 0xff]), float('fsincos, fptan', [0xd9, 0xf2, 0xdd, 0xd8]), float('f2xm1', [0xd9, 0xf0]),
  float('fsqrt', [0xd9, 0xfa]), float('fpatan', [0xd9, 0xe8, 0xd9, 0xf3]), float('fyl2x', [0xd9, 0xe8, 0xd9, 0xf1]),
  float('fyl2xp1', [0xd9, 0xe8, 0xd9, 0xf9]), float('fprem, exponents 16,383 apart', [0xd9, 0xf8], true), float('fscale', [0xd9, 0xfd], true),
  float('fbstp', [0xdf, 0x77, 0x40, 0xd9, 0xee]), float('fbld', [0xdf, 0x67, 0x40, 0xdd, 0xd8]), float('fdiv', [0xd8, 0xf0]),
  float('fsave, frstor', [0xdd, 0x77, 0x40, 0xdd, 0x67, 0x40]),
]

/** Other instructions that cost more than they look. */
const instructions: readonly Attack[] = [
  simple('fxsave, fxrstor', [0x0f, 0xae, 0x47, 0x40, 0x0f, 0xae, 0x4f, 0x40], { setup: move(RDI, at(DATA)) }),
  simple('enter with 31 levels', [0xc8, 0, 0, 31, ...move(RBP, at(20)), ...move(RSP, at(22))], { setup: [...move(RBP, at(20)), ...move(RSP, at(22))] }),
  simple('cpuid', [0x0f, 0xa2]), simple('rdtsc', [0x0f, 0x31]), simple('rdrand', [0x48, 0x0f, 0xc7, 0xf0]),
  simple('divisions of 128 bits', [0x48, 0xf7, 0xf3, ...move(RDX, 1)], { setup: [...move(RBX, 3), ...move(RDX, 1)] }),
  simple('lock cmpxchg16b', [0xf0, 0x48, 0x0f, 0xc7, 0x0f], { setup: move(RDI, at(DATA)) }),
  simple('pushf, popf', [0x9c, 0x9d]),
  simple('rep movsb of a byte', [0x48, 0x89, 0xd1, 0xf3, 0xa4, 0x48, 0xff, 0xcf, 0x48, 0xff, 0xce], {
    setup: [...move(RDX, 1), ...move(RDI, at(20)), ...move(RSI, at(21))],
  }),
  simple('rep movsb of a page, overlapping', [...move(RDI, at(20, 1)), ...move(RSI, at(20)), ...move(RCX, 4096), 0xf3, 0xa4]),
  simple('rep movsq across pages', [...move(RDI, at(20, 4)), ...move(RSI, at(24, 3)), ...move(RCX, 1024), 0xf3, 0x48, 0xa5]),
  simple('repe cmpsb', [...move(RDI, at(20)), ...move(RSI, at(21)), ...move(RCX, 4096), 0xf3, 0xa6]),
  simple('loads from another page each', [0x48, 0x8b, 0x07, 0x48, 0x81, 0xc7, 0, 16, 0, 0, 0x48, 0x39, 0xf7, 0x72, 0x03, 0x48, 0x89, 0xd7], {
    setup: [...move(RDI, at(100)), ...move(RDX, at(100)), ...move(RSI, at(500))],
  }),
  simple('stores across pages', [0x48, 0x89, 0x47, 0xfd, 0x48, 0x81, 0xc7, 0, 16, 0, 0, 0x48, 0x39, 0xf7, 0x72, 0x03, 0x48, 0x89, 0xd7], {
    setup: [...move(RDI, at(101)), ...move(RDX, at(101)), ...move(RSI, at(500))],
  }),
  simple('mov ds, selector of the LDT', [0x8e, 0xd8], {
    setup: [0x66, 0xb8, 0x07, 0x00],
    prepare: (guest) => {
      guest.view.setUint32(guest.place(5), 0xffff, true)
      guest.view.setUint32(guest.place(5, 4), 0x00cf_f300, true)
      guest.poke(guest.frames[L1]!, 5, guest.frames[5]!, READ)
    },
    changes: { ldtBase: BigInt(at(5)), ldtEntries: 1 },
  }),
]

/** A loop of jumps to the next instruction all over a page: as many blocks as there can be. */
const jumps = (count: number): number[] => Array.from({ length: count }, () => [0xeb, 0x00]).flat()

/** The same instruction all over four hundred pages, and back. */
const longCode = (name: string, instruction: readonly number[]): Attack => simple(name, [0xe9, ...little(at(100) - at(PAGE.code, 5), 4)], {
  prepare: (guest) => {
    for (let frame = 100; frame < 500; frame += 1) {
      guest.write(frame, Array.from({ length: 4096 }, (_, i) => instruction[((frame - 100) * 4096 + i) % instruction.length]!))
    }
    guest.write(500, [0x90, 0x90, 0xe9, ...little(at(PAGE.code) - at(500, 7), 4)])
  },
})

/** Tables and pages behind the guest's first 512, filled with instructions of one byte: more of them than are kept decoded. */
function plantEndlessCode(guest: HostileGuest): void {
  const [tables, first, pages] = [512, 520, 1024]
  for (let page = 0; page <= pages; page += 1) {
    const table = guest.frames[tables + (page >> 9)]!
    guest.poke(guest.frames[42]!, 2 + (page >> 9), table, TABLE)
    guest.poke(table, page & 511, guest.frames[first + page]!, WRITE)
    guest.bytes.fill(0x98, guest.place(first + page), guest.place(first + page) + 4096)
  }
  guest.write(first + pages, [0xe9, ...little(at(PAGE.code) - at(512 + pages, 5), 4)])
}

/** Code that is written, or never seen before. */
const code: readonly Attack[] = [
  simple('writes the next instruction', [0xc6, 0x47, 0x3f, 0x90, 0x90, 0x90], { setup: move(RDI, at(PAGE.code)) }),
  simple('writes a byte of each block', Array.from({ length: 20 }, () => [0x88, 0x07, 0xeb, 0x00]).flat(), { setup: move(RDI, at(PAGE.code)) }),
  // The code page is left by a jump to the next one, which is full of jumps and comes back.
  simple('writes one byte of a page of jumps', [0xc6, 0x07, 0xeb, ...jumps(900)], { setup: move(RDI, at(PAGE.code, 1000)) }),
  longCode('code of many pages, once each', [0x48, 0xff, 0xc1]),
  {
    name: 'more code than is kept decoded', body: [0xe9, ...little(at(512) - at(PAGE.code, 5), 4)],
    options: { pages: 1600, prepare: plantEndlessCode }, warm: 220,
  },
]

/** Exits of all kinds. */
const RETURNING = [
  // pop rcx; pop r11; [add $8, rsp]; addq $skip, (rsp); push $0; push rcx; push r11; push rax; mov $iret, eax; syscall
  0x59, 0x41, 0x5b,
]
const handler = (hasCode: boolean, skip: number): number[] => [
  ...RETURNING, ...(hasCode ? [0x48, 0x83, 0xc4, 0x08] : []), 0x48, 0x83, 0x04, 0x24, skip, 0x6a, 0x00, 0x51, 0x41, 0x53, 0x50,
  0xb8, HYPERVISOR.iret, 0, 0, 0, 0x0f, 0x05,
]
const exits: readonly Attack[] = [
  simple('page faults', [0x8b, 0x03], { setup: move(RBX, 0x40_0000), prepare: (guest) => guest.write(PAGE.fault, handler(true, 2)) }),
  simple('undefined instructions', [0x0f, 0x0b], { prepare: (guest) => guest.write(PAGE.other, handler(false, 2)) }),
  simple('forced cpuid', [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2]),
  simple('rdmsr', [...move(RCX, 0xc000_0080), 0x0f, 0x32]),
  simple('stores to a page table', [0x48, 0x89, 0x0f], { setup: move(RDI, at(L1, 511 * 8)) }),
  simple('stores to a page table that are refused', [0x48, 0x89, 0x0f], {
    setup: [...move(RDI, at(L1, 511 * 8)), ...move(RCX, 0xfff_f007)], prepare: (guest) => guest.write(PAGE.fault, handler(true, 3)),
  }),
  simple('yields', call('sched_op', SCHEDOP.yield, 0)),
  simple('events to itself', [
    // set the mask so that no upcall comes; send; clear pending by hand
    ...call('event_channel_op', EVTCHNOP.send, at(DATA)),
  ], {
    arrange: (guest) => {
      const port = guest.hypervisor.port(guest.domid).bindIpi(0)
      guest.view.setUint32(guest.place(DATA), port, true)
    },
  }),
  simple('one-shot timers in the past', call('vcpu_op', VCPUOP.set_singleshot_timer, 0, at(DATA))),
  simple('bad hypercalls', call('sched_op', 99, 0)),
]

/** A multicall of `count` entries of the same call. */
function multicall(name: string, entry: { readonly op: keyof typeof HYPERVISOR; args(guest: HostileGuest): number[] }, fill: (guest: HostileGuest) => void): Attack {
  const count = 64
  return simple(name, call('multicall', at(PAGE.entries), count), {
    arrange: (guest) => {
      fill(guest)
      const args = entry.args(guest).map(BigInt)
      while (args.length < 6) args.push(0n)
      for (let i = 0; i < count; i += 1) {
        MulticallEntry.encode(guest.view, guest.place(PAGE.entries) + i * MulticallEntry.size, { op: BigInt(HYPERVISOR[entry.op]), result: 0n, args })
      }
    },
  })
}

/** A list for an operation at the page for lists. */
function list(guest: HostileGuest, count: number, size: number, encode: (view: DataView, at: number, index: number) => void): void {
  const bytes = new Uint8Array(count * size)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < count; i += 1) encode(view, i * size, i)
  guest.write(PAGE.list, bytes)
}

const extended = (command: number, frame: number) => (guest: HostileGuest): void => list(guest, 4096, MmuextOp.size, (view, place) => {
  MmuextOp.cmd.set(view, place, command)
  MmuextOp.mfn.setNumber(view, place, guest.frames[frame]!)
})

const copies = (length: number) => (guest: HostileGuest): void => list(guest, 4096, GnttabCopy.size, (view, place) => {
  for (const [side, frame] of [[GnttabCopy.source, 300], [GnttabCopy.dest, 301]] as const) {
    GnttabCopyPtr.gmfn.setNumber(view, side.at(place), guest.frames[frame]!)
    GnttabCopyPtr.domid.set(view, side.at(place), DOMID.SELF)
  }
  GnttabCopy.len.set(view, place, length)
})

/** A tree as large as the guest: 60 tables of 512 entries each below one L3, to be pinned and unpinned. */
function plantTree(guest: HostileGuest): void {
  const [l3, l2] = [guest.frames[300]!, guest.frames[301]!]
  guest.poke(l3, 0, l2, TABLE)
  for (let i = 0; i < 60; i += 1) {
    guest.poke(l2, i, guest.frames[310 + i]!, TABLE)
    for (let slot = 0; slot < 512; slot += 1) guest.poke(guest.frames[310 + i]!, slot, guest.frames[302]!, READ)
    guest.poke(guest.frames[L1]!, 310 + i, 0, 0)
  }
  for (const frame of [300, 301]) guest.poke(guest.frames[L1]!, frame, 0, 0)
}

const extent = (guest: HostileGuest, order: number, count: number): void => {
  const place = guest.place(DATA)
  XenMemoryReservation.extentStart.setNumber(guest.view, place, at(PAGE.list))
  XenMemoryReservation.nrExtents.setNumber(guest.view, place, count)
  XenMemoryReservation.extentOrder.set(guest.view, place, order)
  XenMemoryReservation.domid.set(guest.view, place, DOMID.SELF)
}

/** Opens ports by the FIFO ABI and closes them; the words of all say that they are linked. */
function linkPorts(guest: HostileGuest): void {
  const { view } = guest
  view.setBigUint64(guest.place(DATA), BigInt(guest.frames[300]!), true)
  view.setBigUint64(guest.place(DATA, 8), 0n, true)
  guest.hypercall('event_channel_op', EVTCHNOP.init_control, at(DATA))
  for (let page = 0; page < 27; page += 1) {
    view.setBigUint64(guest.place(DATA), BigInt(guest.frames[310 + page]!), true)
    guest.hypercall('event_channel_op', EVTCHNOP.expand_array, at(DATA))
    for (let word = 0; word < 1024; word += 1) view.setUint32(guest.place(310 + page, word * 4), 1 << 29, true)
  }
  view.setUint16(guest.place(DATA), DOMID.SELF, true)
  view.setUint16(guest.place(DATA, 2), DOMID.SELF, true)
}

/** Hypercalls with much work in them. */
const hypercalls: readonly Attack[] = [
  multicall('multicall of grant copies, whole pages', { op: 'grant_table_op', args: () => [GNTTABOP.copy, at(PAGE.list), 4096] }, copies(4096)),
  multicall('multicall of grant copies, a byte each', { op: 'grant_table_op', args: () => [GNTTABOP.copy, at(PAGE.list), 4096] }, copies(1)),
  multicall('multicall of pages cleared', { op: 'mmuext_op', args: () => [at(PAGE.list), 4096, 0, DOMID.SELF] }, extended(MMUEXT.CLEAR_PAGE, 301)),
  multicall('multicall of TLB flushes', { op: 'mmuext_op', args: () => [at(PAGE.list), 4096, 0, DOMID.SELF] }, extended(MMUEXT.TLB_FLUSH_ALL, 0)),
  multicall('multicall of single-page flushes', { op: 'mmuext_op', args: () => [at(PAGE.list), 4096, 0, DOMID.SELF] }, extended(MMUEXT.INVLPG_ALL, 0)),
  multicall('multicall of nothing', { op: 'xen_version', args: () => [0, 0] }, () => undefined),
  multicall('mmu_update of leaves', { op: 'mmu_update', args: () => [at(PAGE.list), 4096, 0, DOMID.SELF] }, (guest) =>
    list(guest, 4096, 16, (view, place, i) => {
      view.setBigUint64(place, BigInt(guest.frames[L1]! * 4096 + 511 * 8), true)
      view.setBigUint64(place + 8, BigInt(guest.frames[300 + (i & 7)]! * 4096 + WRITE), true)
    })),
  multicall('event channels reset', { op: 'event_channel_op', args: () => [EVTCHNOP.reset, at(DATA)] }, (guest) => {
    guest.view.setUint16(guest.place(DATA), DOMID.SELF, true)
    for (let i = 0; i < 4000; i += 1) guest.hypervisor.allocUnbound(guest.domid, 0 as never)
  }),
  simple('tree of tables pinned and unpinned', call('mmuext_op', at(PAGE.list), 2, 0, DOMID.SELF), {
    prepare: plantTree,
    arrange: (guest) => list(guest, 2, MmuextOp.size, (view, place, i) => {
      MmuextOp.cmd.set(view, place, i === 0 ? MMUEXT.PIN_L3_TABLE : MMUEXT.UNPIN_TABLE)
      MmuextOp.mfn.setNumber(view, place, guest.frames[300]!)
    }),
  }),
  simple('ports taken among linked ones', call('event_channel_op', EVTCHNOP.alloc_unbound, at(DATA)), { arrange: linkPorts }),
  simple('frames given back and taken', [
    ...call('memory_op', XENMEM.decrease_reservation, at(DATA)), ...call('memory_op', XENMEM.increase_reservation, at(DATA)),
  ], {
    prepare: (guest) => { for (let i = 300; i < 500; i += 1) guest.poke(guest.frames[L1]!, i, 0, 0) },
    arrange: (guest) => {
      extent(guest, 0, 200)
      list(guest, 200, 8, (view, place, i) => view.setBigUint64(place, BigInt(guest.frames[300 + i]!), true))
    },
  }),
  simple('console_io of empty lines', call('console_io', CONSOLEIO.write, 100 * 4096, at(PAGE.list)), {
    prepare: (guest) => guest.write(PAGE.list, new Uint8Array(400 * 4096).fill(10)),
  }),
  simple('grants mapped and unmapped', [
    ...call('grant_table_op', GNTTABOP.map_grant_ref, at(PAGE.list), 1), ...move(RDI, at(PAGE.list)),
    // Handle and bus address go into the argument of the unmapping.
    0x8b, 0x47, 0x14, 0x89, 0x87, 0x10, 0x02, 0, 0, 0x48, 0x8b, 0x47, 0x18, 0x48, 0x89, 0x87, 0x08, 0x02, 0, 0,
    ...call('grant_table_op', GNTTABOP.unmap_grant_ref, at(PAGE.list, 512), 1),
  ], {
    arrange: (guest) => {
      const victim = guest.hypervisor.createDomain({ kind: 'pv', maxPages: 4 })
      const [frame] = guest.hypervisor.populatePhysmap(victim, 4, 0)
      guest.hypervisor.seedGrant(victim, 9 as never, { remote: guest.domid, frame: frame! })
      list(guest, 1, GnttabMapGrantRef.size, (view) => GnttabMapGrantRef.encode(view, 0, {
        hostAddr: 0n, flags: GNTMAP.device_map, ref: 9 as never, dom: victim, status: 99, handle: 0, devBusAddr: 0n,
      }))
    },
  }),
  simple('update_va_mapping with a flush of all', call('update_va_mapping', at(511), 0, UVMF.TLB_FLUSH | UVMF.ALL)),
  simple('set_trap_table of 256 traps', call('set_trap_table', at(PAGE.list)), {
    arrange: (guest) => list(guest, 256, TrapInfo.size, (view, place, i) =>
      TrapInfo.encode(view, place, { vector: 255 - i, flags: 4, cs: FLAT.KERNEL_CS64, address: BigInt(at(PAGE.other)) })),
  }),
  simple('set_gdt of 14 pages', call('set_gdt', at(PAGE.list), 7168), {
    prepare: (guest) => { for (let i = 300; i < 314; i += 1) guest.poke(guest.frames[L1]!, i, 0, 0) },
    arrange: (guest) => list(guest, 14, 8, (view, place, i) => view.setBigUint64(place, BigInt(guest.frames[300 + i]!), true)),
  }),
  simple('new top-level table', call('mmuext_op', at(PAGE.list), 1, 0, DOMID.SELF), { arrange: extended(MMUEXT.NEW_BASEPTR, 40) }),
]

/** All attacks. */
export const ATTACKS: readonly Attack[] = [...hypercalls, ...exits, ...instructions, ...floats, ...code]
