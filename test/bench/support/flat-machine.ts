/**
 * Runs a flat 64-bit program on the bare machine, or within a host that translates its memory frame by frame: ring 0, page tables of its
 * own that map memory one to one, no hypervisor.
 * An ELF file at its physical addresses, port 0x3f8 as output, HLT with interrupts off as the end. What it costs here is
 * the baseline for what a domain costs.
 */
import { readFileSync } from 'node:fs'
import { EXIT, FRAME_RIGHT, Machine, type BareProcessor, type MachineOptions, type PortSource } from '../../../src/machine/index.ts'

const PAGE = 4096
/**
 * Bytes of memory, as many as the machine has on which the domain runs: a smaller linear memory is faster to reach, and
 * that would be taken for the hypervisor's cost.
 */
export const MACHINE_MEMORY = 96 << 20
const PRESENT = 1
const WRITABLE = 2
const OUTPUT_PORT = 0x3f8
/** Instructions between two looks at the clock. */
const SLICE = 1_000_000

/** Maps all memory one to one by tables at its end; returns the root table's physical address. */
function mapOneToOne(machine: Machine): number {
  const { words, firstFrame } = machine.memory
  const pages = MACHINE_MEMORY / PAGE
  const leaves = pages / 512
  const root = pages - leaves - 3
  const entry = (table: number, slot: number, target: number): void => {
    words[((firstFrame + table) << 10) + slot * 2] = (target << 12) | PRESENT | WRITABLE
  }
  entry(root, 0, root + 1)
  entry(root + 1, 0, root + 2)
  for (let leaf = 0; leaf < leaves; leaf += 1) entry(root + 2, leaf, root + 3 + leaf)
  for (let page = 0; page < pages; page += 1) entry(root + 3 + (page >> 9), page % 512, page)
  return root * PAGE
}

/** A loaded program, ready to run. */
export interface FlatProgram {
  readonly machine: Machine
  readonly processor: BareProcessor
  /** Runs to the end, `slice` instructions at a time; `onOutput` gets each character. The number of instructions. */
  run(onOutput: (text: string) => void, slice?: number): number
  /** Instructions executed up to the end of the last slice. */
  executed(): number
}

/** A processor over all memory from the first frame on: alone, or with a host's translation behind each frame. */
function makeProcessor(machine: Machine, memory: 'bare' | 'nested', ports: PortSource): BareProcessor {
  const { firstFrame } = machine.memory
  const rights = FRAME_RIGHT.READ | FRAME_RIGHT.WRITE | FRAME_RIGHT.EXECUTE
  return memory === 'bare' ? machine.createProcessor({ mode: 'bare', ports })
    : machine.createProcessor({ mode: 'virtualised', ports, physical: { frame: (gfn) => (firstFrame + gfn) * PAGE + rights } })
}

/** Loads an ELF file into a machine of its own, made with these options besides its memory, which is nested where that is asked for. */
export function loadFlatProgram(path: string, { paging = 'bare', ...options }: Partial<MachineOptions> & { readonly paging?: 'bare' | 'nested' } = {}): FlatProgram {
  const file = readFileSync(path)
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const machine = new Machine({ ...options, memoryBytes: MACHINE_MEMORY })
  const base = machine.memory.firstFrame * PAGE
  const headers = Number(view.getBigUint64(32, true))
  for (let i = 0; i < view.getUint16(56, true); i += 1) {
    const at = headers + i * 56
    if (view.getUint32(at, true) !== 1) continue
    const offset = Number(view.getBigUint64(at + 8, true))
    const address = Number(view.getBigUint64(at + 24, true))
    machine.memory.bytes.set(file.subarray(offset, offset + Number(view.getBigUint64(at + 32, true))), base + address)
  }
  const output = { take: (_: string): void => {} }
  const processor = makeProcessor(machine, paging, {
    read: () => 0xff,
    write: (port, _, value) => {
      if (port === OUTPUT_PORT) output.take(String.fromCharCode(value))
    },
  })
  processor.registers.setControl(3, mapOneToOne(machine), 0)
  processor.registers.setRip(view.getUint32(24, true), 0)
  let executed = 0
  const run = (onOutput: (text: string) => void, slice = SLICE): number => {
    output.take = onOutput
    for (;;) {
      const reason = processor.run(slice)
      executed += processor.executed
      if (reason === EXIT.HALT) return executed
      if (reason !== EXIT.BUDGET) throw new Error(`the program ended with exit ${reason}`)
    }
  }
  return { machine, processor, run, executed: () => executed }
}
