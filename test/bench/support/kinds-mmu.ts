/**
 * What memory management costs 32-bit PV and PVH guests: round trips into the hypervisor, page faults, updates of page tables,
 * and walks behind a flush, through the guest's tables alone and through a host's map as well. Each program counts its rounds
 * in memory.
 */
import { DOMID, HYPERVISOR, UVMF, XENVER } from '../../../src/abi/index.ts'
import { WRITE } from '../../support/hypervisor-host.ts'
import { assemble } from '../../support/assembler.ts'
import { BareBench } from '../../support/bare.ts'
import { PLACE, PaeGuest, TABLES } from '../../support/pae-guest.ts'
import { PvhTestGuest } from '../../support/pvh-guest.ts'
import { AT, VirtualBench } from '../../support/virtualised.ts'

/** Requests in one mmu_update. */
const BATCH = 128
/** Pages of a walk behind a flush. */
const PAGES = 400
const [WARM_UP, MEASURED] = [2_000_000, 20_000_000] as const
const LOW_COUNT = 0x13_0000

/** Something to measure: runs for so many instructions, and tells how many things have been done. */
export interface CountedWork {
  run(instructions: number): void
  count(): number
}

/** How often a second of user time it is done. */
export function rateOf({ run, count }: CountedWork): number {
  run(WARM_UP)
  const [before, start] = [count(), process.cpuUsage()]
  run(MEASURED)
  const seconds = process.cpuUsage(start).user / 1e6
  const done = count() - before
  if (done === 0) throw new Error('nothing was done')
  return done / seconds
}

/** A 32-bit PV guest whose kernel repeats a listing. */
function inPv32(listing: (guest: PaeGuest) => string, each = 1): CountedWork {
  const guest = new PaeGuest()
  const counter = PLACE.DATA + 0xff0
  // The page-fault handler: add $4, esp (error code); addl $5, (esp) (behind the load); iret.
  guest.write(PLACE.HANDLERS + 14 * 16, [0x83, 0xc4, 0x04, 0x83, 0x04, 0x24, 0x05, 0xcf])
  guest.run(`1: ${listing(guest)} incl ${counter}; test %eax,%eax; jns 1b`)
  return {
    run: (instructions) => void guest.hypervisor.run({ instructions }),
    count: () => guest.read(counter, 1)[0]! * each,
  }
}

const call32 = (number: number, ...values: readonly number[]): string =>
  `mov $${number},%eax; ${values.map((value, i) => `mov $${value >>> 0},%${['ebx', 'ecx', 'edx', 'esi'][i]!};`).join(' ')} int $0x82;`

export const pv32Hypercalls = (): CountedWork => inPv32(() => call32(HYPERVISOR.xen_version, XENVER.version, 0))

export const pv32PageFaults = (): CountedWork => inPv32(() => 'xor %eax,%eax; mov 0x40000000,%eax;')

/** Entries of the level-1 table, in batches that map 18 frames by turns. */
export function pv32Updates(): CountedWork {
  return inPv32((guest) => {
    const lists = [PLACE.DATA - 4096, PLACE.DATA - 2048]
    lists.forEach((at, list) => {
      for (let i = 0; i < BATCH; i += 1) {
        const frame = guest.frames[46 + ((i + list) % 18)]!
        guest.words(at + i * 16, guest.frames[TABLES.l1]! * 4096 + (300 + i) * 8, 0, frame * 4096 + WRITE, 0)
      }
    })
    return lists.map((at) => call32(HYPERVISOR.mmu_update, at, BATCH, 0, DOMID.SELF)).join(' ')
  }, 2 * BATCH)
}

/** The same entry by its address, for one of two frames in turn. */
export function pv32ByAddress(): CountedWork {
  return inPv32((guest) => [46, 47].map((number) =>
    call32(HYPERVISOR.update_va_mapping, 0x12_c000, guest.frames[number]! * 4096 + WRITE, 0, UVMF.NONE)).join(' '), 2)
}

/** Hypercalls of a PVH guest. */
export function pvhHypercalls(): CountedWork {
  const guest = new PvhTestGuest(`1: mov $${HYPERVISOR.xen_version},%eax; xor %ebx,%ebx; xor %ecx,%ecx; vmmcall; incl ${LOW_COUNT}; jmp 1b`)
  return { run: (instructions) => guest.run(instructions), count: () => guest.read32(LOW_COUNT) }
}

/** Page faults of a kernel with an IDT of its own, whose memory its host translates: no hypervisor is asked. */
export function pvhPageFaults(): CountedWork {
  const bench = new VirtualBench()
  bench.write32(AT.TABLE + 0x100 * 8, 0)
  bench.write(AT.HANDLERS + 14 * 16, assemble('add $8,%rsp; addq $7,(%rsp); iretq', { origin: AT.HANDLERS + 14 * 16 }))
  // Segments to which IRET can come back: no stack segment, and code of the table's.
  bench.load(`xor %eax,%eax; mov %eax,%ss; push $8; push $${AT.CODE + 13}; lretq; 1: mov 0x100000,%eax; incl ${AT.DATA}; jmp 1b`)
  return { run: (instructions) => void bench.cpu.run(instructions), count: () => bench.read32(AT.DATA) }
}

/** Behind each flush of CR3 a row of pages, each of which needs a walk; rbx counts rows. */
const WALKING = `1: mov %cr3,%rax; mov %rax,%cr3; mov $0x60000,%edi; mov $${PAGES},%ecx; 2: mov (%rdi),%eax; add $0x1000,%rdi; dec %ecx; jnz 2b; inc %rbx; jmp 1b`

export function nestedWalks(): CountedWork {
  const bench = new VirtualBench()
  bench.load(WALKING)
  return { run: (instructions) => void bench.cpu.run(instructions), count: () => bench.get('rbx') * PAGES }
}

export function bareWalks(): CountedWork {
  const bench = new BareBench()
  bench.run(WALKING, 1000)
  return { run: (instructions) => void bench.cpu.run(instructions), count: () => bench.get('rbx') * PAGES }
}
