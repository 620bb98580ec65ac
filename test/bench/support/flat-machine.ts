/**
 * Runs a flat 64-bit program on the machine with no hypervisor: an ELF file at its physical addresses, memory mapped one
 * to one, port 0x3f8 as output, `cli` as the end. What it costs here is the baseline for what a domain costs.
 */
import { readFileSync } from 'node:fs'
import { EXIT, Machine, type Processor } from '../../../src/machine/index.ts'

const PAGE = 4096
const MEMORY = 16 << 20
const PRESENT = 1
const WRITABLE = 2
const USER = 4
const OUTPUT_PORT = 0x3f8
const RAX = 0
/** Instructions between two looks at the clock. */
const SLICE = 1_000_000

/** Maps the first gigabyte's worth of frames one to one from `first` on; returns the root table's frame. */
function mapOneToOne(machine: Machine, first: number, pages: number): number {
  const { words, firstFrame } = machine.memory
  let next = firstFrame + pages
  const table = (): number => {
    words.fill(0, next << 10, (next + 1) << 10)
    return next++
  }
  const entry = (frame: number, slot: number, target: number): void => {
    words[(frame << 10) + slot * 2] = (target << 12) | PRESENT | WRITABLE | USER
  }
  const root = table()
  const directory = table()
  const middle = table()
  entry(root, 0, directory)
  entry(directory, 0, middle)
  let leaf = 0
  for (let page = 0; page < pages; page += 1) {
    const address = first + page
    if (page === 0 || address % 512 === 0) {
      leaf = table()
      entry(middle, address >> 9, leaf)
    }
    entry(leaf, address % 512, firstFrame + page)
  }
  return root
}

/** A loaded program, ready to run. */
export interface FlatProgram {
  readonly processor: Processor
  /** Runs to the end; `onOutput` gets each character. The number of instructions. */
  run(onOutput: (text: string) => void): number
  /** Instructions executed up to the last exit. */
  executed(): number
}

/** Loads an ELF file whose program runs from 1 MiB. */
export function loadFlatProgram(path: string): FlatProgram {
  const file = readFileSync(path)
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const first = 0x100
  const pages = (MEMORY >> 12) - 64
  const machine = new Machine({ memoryBytes: MEMORY })
  const base = machine.memory.firstFrame * PAGE
  const headers = Number(view.getBigUint64(32, true))
  for (let i = 0; i < view.getUint16(56, true); i += 1) {
    const at = headers + i * 56
    if (view.getUint32(at, true) !== 1) continue
    const offset = Number(view.getBigUint64(at + 8, true))
    const address = Number(view.getBigUint64(at + 24, true)) - first * PAGE
    machine.memory.bytes.set(file.subarray(offset, offset + Number(view.getBigUint64(at + 32, true))), base + address)
  }
  const root = mapOneToOne(machine, first, pages)
  const processor = machine.createProcessor({ mode: 'hosted', descriptors: { read: () => false } })
  processor.registers.setControl(3, (root * PAGE) >>> 0, 0)
  processor.registers.setRip(view.getUint32(24, true), 0)
  const counter = { instructions: 0 }
  return { processor, run: (onOutput) => run(processor, counter, onOutput), executed: () => counter.instructions }
}

function run(processor: Processor, counter: { instructions: number }, onOutput: (text: string) => void): number {
  const { registers } = processor
  for (;;) {
    const reason = processor.run(SLICE)
    counter.instructions += processor.executed
    if (reason === EXIT.BUDGET) continue
    const { request } = processor.exit
    if (reason !== EXIT.PRIVILEGED) throw new Error(`the program ended with exit ${reason}, vector ${processor.exit.vector}`)
    if (request.operation === 'cli') return counter.instructions
    if (request.operation !== 'out' || request.port !== OUTPUT_PORT) throw new Error(`unexpected ${request.operation}`)
    onOutput(String.fromCharCode(registers.low(RAX) & 0xff))
    registers.setRip((registers.rip() + request.length) >>> 0, 0)
  }
}
