/**
 * Validated page-table updates per second: single ones and batches of a guest in TypeScript, against plain writes of the
 * same entries without any check. And how often a binary guest gets into the hypervisor and back in a second of user time; the
 * same for 32-bit PV and PVH guests, with their updates of page tables and their walks (support/kinds-mmu.ts). What nested
 * paging costs a program as a whole is a row of `cpu`.
 *
 * Round trips are measured many times in turn, each time by a new machine, and the best one counts: a single one differs by a
 * third from the next on a machine that does something else, and while V8 still compiles.
 */
import { DOMID, FLAT, HYPERVISOR } from '../../src/abi/index.ts'
import { Hypervisor, VirtualClock } from '../../src/hypervisor/index.ts'
import { Machine } from '../../src/machine/index.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { TABLE, TestHost, WRITE } from '../support/hypervisor-host.ts'
import { PvGuest } from '../support/pv-guest.ts'
import type { Report } from './report.ts'
import { bareWalks, nestedWalks, pv32ByAddress, pv32Hypercalls, pv32PageFaults, pv32Updates, pvhHypercalls, pvhPageFaults, rateOf } from './support/kinds-mmu.ts'

/** Measurements of round trips, and instructions of guest time in each. */
const TRIP_ROUNDS = 10
/** Measurements of other kinds' rows. */
const KIND_ROUNDS = 4
const TRIP_INSTRUCTIONS = 20_000_000
/** Updates of one measurement. */
const UPDATES = 400_000
/** Requests in one hypercall. */
const BATCH = 128

/** A pinned tree with its level-1 table, and frames to map. */
function prepare() {
  const host = new TestHost({ frames: 4096 })
  const guest = host.guest({ pages: 1024 })
  const { l4, l1 } = guest.tables([])
  if (guest.pin(4, l4) !== 0) throw new Error('the tables are refused')
  return { host, guest, l1, port: host.hypervisor.port(guest.domid) }
}

/** Fills the argument frame with requests that map, or unmap, entries of the table. */
function fill(view: DataView, scratch: number, l1: number, frames: readonly number[], round: number): void {
  for (let i = 0; i < BATCH; i += 1) {
    const slot = (round * BATCH + i) & 511
    const at = scratch + 1024 + i * 16
    view.setUint32(at, l1 * 4096 + slot * 8, true)
    view.setUint32(at + 4, 0, true)
    view.setUint32(at + 8, ((frames[16 + ((slot + round) % 900)]! << 12) | WRITE) >>> 0, true)
    view.setUint32(at + 12, 0, true)
  }
}

function batched(): number {
  const { guest, l1, port } = prepare()
  const rounds = Math.floor(UPDATES / BATCH)
  let spent = 0
  for (let round = 0; round < rounds; round += 1) {
    fill(guest.view, guest.scratch, l1, guest.frames, round)
    const start = performance.now()
    const result = port.hypercall(HYPERVISOR.mmu_update, [guest.scratch + 1024, BATCH, 0, DOMID.SELF])
    spent += performance.now() - start
    if (result !== 0) throw new Error(`a batch failed with ${result}`)
  }
  return (rounds * BATCH * 1000) / spent
}

function single(): number {
  const { guest, l1, port } = prepare()
  const start = performance.now()
  for (let i = 0; i < UPDATES; i += 1) {
    const slot = i & 511
    guest.view.setUint32(guest.scratch, l1 * 4096 + slot * 8, true)
    guest.view.setUint32(guest.scratch + 8, ((guest.frames[16 + ((i >>> 9) + slot) % 900]! << 12) | WRITE) >>> 0, true)
    if (port.hypercall(HYPERVISOR.mmu_update, [guest.scratch, 1, 0, DOMID.SELF]) !== 0) throw new Error('an update failed')
  }
  return (UPDATES * 1000) / (performance.now() - start)
}

/** The same entries written without a hypervisor. */
function unchecked(): number {
  const { host, guest, l1 } = prepare()
  const { words } = host.memory
  const start = performance.now()
  for (let i = 0; i < UPDATES * 10; i += 1) {
    const slot = i & 511
    words[l1 * 1024 + slot * 2] = ((guest.frames[16 + ((i >>> 9) + slot) % 900]! << 12) | WRITE) >>> 0
    words[l1 * 1024 + slot * 2 + 1] = 0
  }
  return (UPDATES * 10 * 1000) / (performance.now() - start)
}

/** Virtual addresses of the binary guest: code, handler, stack; and one that nothing is mapped at. */
const CODE = 0x20_0000
const HANDLER = CODE + 0x800
const STACK = CODE + 0x3000
const NOWHERE = 0x40_0000

/** mov $17, eax; xor edi, edi; syscall; jmp to the start: XENVER_version for ever. */
const CALLING = [0xb8, HYPERVISOR.xen_version, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0xeb, 0xf5]
/** mov $NOWHERE, ebx; mov (rbx), eax; jmp to the load: a page fault each time. */
const FAULTING = [0xbb, 0x00, 0x00, 0x40, 0x00, 0x8b, 0x03, 0xeb, 0xfc]
/**
 * The page-fault handler: pop rcx; pop r11; add $8, rsp (error code); addq $2, (rsp) (behind the load); push $0; push rcx;
 * push r11; push rax; mov $iret, eax; syscall.
 */
const RETURNING = [
  0x59, 0x41, 0x5b, 0x48, 0x83, 0xc4, 0x08, 0x48, 0x83, 0x04, 0x24, 0x02, 0x6a, 0x00, 0x51, 0x41, 0x53, 0x50,
  0xb8, HYPERVISOR.iret, 0, 0, 0, 0x0f, 0x05,
]

/** Exits per second of a guest that runs `code` on the machine's processor. */
function roundTrips(code: readonly number[], instructionsEach: number): number {
  const machine = new Machine({ memoryBytes: 16 << 20 })
  const hypervisor = new Hypervisor({
    memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1),
    createProcessor: (options) => machine.createProcessor(options),
  })
  const domid = hypervisor.createDomain({ kind: 'pv', maxPages: 16 })
  const frames = hypervisor.populatePhysmap(domid, 16, 0)
  const { words, bytes } = machine.memory
  const entry = (table: number, slot: number, frame: number, flags: number): void => {
    words[frames[table]! * 1024 + slot * 2] = ((frames[frame]! << 12) | flags) >>> 0
  }
  entry(0, 0, 1, TABLE)
  entry(1, 0, 2, TABLE)
  entry(2, 1, 3, TABLE)
  for (let i = 0; i < 4; i += 1) entry(3, i, 4 + i, WRITE)
  bytes.set(code, frames[4]! * 4096)
  bytes.set(RETURNING, frames[4]! * 4096 + HANDLER - CODE)
  for (const frame of frames) hypervisor.markWritten(frame)
  const context = PvGuest.context(frames[0]!, {
    traps: [{ vector: 14, flags: 4, cs: FLAT.KERNEL_CS64, address: BigInt(HANDLER) }], kernelSp: BigInt(STACK),
  })
  hypervisor.setVcpuContext(domid, 0, { ...context, user: { ...context.user, rip: BigInt(CODE), rsp: BigInt(STACK), rbx: BigInt(NOWHERE) } })
  hypervisor.unpauseDomain(domid)
  hypervisor.run({ instructions: 3_000_000 })
  const start = process.cpuUsage()
  hypervisor.run({ instructions: TRIP_INSTRUCTIONS })
  const seconds = process.cpuUsage(start).user / 1e6
  if (hypervisor.domainInfo(domid).crashed) throw new Error('the guest has crashed')
  return TRIP_INSTRUCTIONS / instructionsEach / seconds
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const plain = unchecked()
  // An exit costs 100 instructions of virtual time, a trap another 100, SYSCALL 20: so many are charged for each round.
  const trips = [
    { name: 'hypercalls of a binary guest', code: CALLING, instructionsEach: 124, best: 0 },
    { name: 'page faults of a binary guest', code: FAULTING, instructionsEach: 333, best: 0 },
  ]
  for (let round = 0; round < TRIP_ROUNDS; round += 1) {
    for (const trip of trips) trip.best = Math.max(trip.best, roundTrips(trip.code, trip.instructionsEach))
  }
  for (const [name, measure, target] of [['batched updates', batched, 1_000_000], ['single updates', single, undefined]] as const) {
    const value = Math.max(measure(), measure())
    report({
      case: name, value: Math.round(value), unit: 'updates/s', baseline: `unchecked writes: ${Math.round(plain)}/s`, ratio: value / plain,
      target: target ?? null, met: target === undefined ? null : value >= target,
    })
  }
  for (const { name, best } of trips) {
    report({ case: name, value: Math.round(best), unit: 'round trips/s', baseline: '', ratio: null, target: null, met: null })
  }
  reportKinds(report, new Map(trips.map(({ name, best }) => [name, best])))
}

/** Rows of 32-bit PV and PVH guests, against the same of 64-bit PV ones where there is that. */
function reportKinds(report: Report, trips: ReadonlyMap<string, number>): void {
  const rows = [
    { name: 'hypercalls of a 32-bit PV guest', unit: 'round trips/s', make: pv32Hypercalls, beside: 'hypercalls of a binary guest', best: 0 },
    { name: 'page faults of a 32-bit PV guest', unit: 'round trips/s', make: pv32PageFaults, beside: 'page faults of a binary guest', best: 0 },
    { name: 'mmu_update of a 32-bit PV guest', unit: 'updates/s', make: pv32Updates, beside: undefined, best: 0 },
    { name: 'update_va_mapping of a 32-bit PV guest', unit: 'updates/s', make: pv32ByAddress, beside: undefined, best: 0 },
    { name: 'hypercalls of a PVH guest', unit: 'round trips/s', make: pvhHypercalls, beside: 'hypercalls of a binary guest', best: 0 },
    { name: 'page faults of a PVH guest', unit: 'round trips/s', make: pvhPageFaults, beside: 'page faults of a binary guest', best: 0 },
    { name: 'walks without a host\'s map', unit: 'walks/s', make: bareWalks, beside: undefined, best: 0 },
    { name: 'walks through a host\'s map', unit: 'walks/s', make: nestedWalks, beside: 'walks without a host\'s map', best: 0 },
  ]
  for (let round = 0; round < KIND_ROUNDS; round += 1) for (const row of rows) row.best = Math.max(row.best, rateOf(row.make()))
  for (const { name, unit, beside, best } of rows) {
    const baseline = beside === undefined ? undefined : trips.get(beside) ?? rows.find((row) => row.name === beside)?.best
    report({
      case: name, value: Math.round(best), unit, baseline: baseline === undefined ? '' : `${beside}: ${Math.round(baseline)}/s`,
      ratio: baseline === undefined ? null : best / baseline, target: null, met: null,
    })
  }
}
