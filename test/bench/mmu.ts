/**
 * Validated page-table updates per second: single ones and batches of a guest in TypeScript, against plain writes of the
 * same entries without any check.
 */
import { DOMID, HYPERVISOR } from '../../src/abi/index.ts'
import { TestHost, WRITE } from '../support/hypervisor-host.ts'
import type { Report } from './report.ts'

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

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const plain = unchecked()
  for (const [name, measure, target] of [['batched updates', batched, 1_000_000], ['single updates', single, undefined]] as const) {
    const value = Math.max(measure(), measure())
    report({
      case: name, value: Math.round(value), unit: 'updates/s', baseline: `unchecked writes: ${Math.round(plain)}/s`, ratio: value / plain,
      target: target ?? null, met: target === undefined ? null : value >= target,
    })
  }
}
