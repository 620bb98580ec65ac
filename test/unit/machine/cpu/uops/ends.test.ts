/** How micro-operations end, what they cost and which flags they depend on: blocks of a single one are executed. */
import { beforeAll, describe, expect, test } from 'vitest'
import { compileGroup, compileInterpreter, microTable } from '../../../../../src/machine/cpu/interpreter/compiled.ts'
import type { InterpreterExports } from '../../../../../src/machine/cpu/interpreter/module.ts'
import { ARITHMETIC_FLAGS, readFlags, writeFlags } from '../../../../../src/machine/cpu/layout/flag-word.ts'
import { BLOCK, RECORD } from '../../../../../src/machine/cpu/layout/record.ts'
import { NO_TAG, SLOT, STATUS, State, TLB } from '../../../../../src/machine/cpu/layout/state.ts'
import type { End } from '../../../../../src/machine/cpu/uops/facts.ts'
import { LATER_GROUPS } from '../../../../../src/machine/cpu/uops/micro.ts'
import type { Micro } from '../../../../../src/machine/cpu/uops/micro.ts'
import { VECTOR_UNIT } from '../../../../../src/machine/cpu/uops/sse-place.ts'
import { GPR, RFLAGS } from '../../../../../src/x86/index.ts'

/** Where things lie in 16 MiB of memory: the processor's area, one block, tables, and what the guest may reach. */
const [BASE, BLOCK_AT, TABLES, GUEST, GUEST_BYTES] = [0x1_0000, 0x8_0000, 0x40_0000, 0x80_0000, 0x40_0000]
const RIP = GUEST + 0x1100
const LENGTH = 3
const DISTANCE = 0x55
const BUDGET = 100
/** Instructions that a conditional branch gives back. */
const BEHIND = 7
const TARGET = GUEST + 0x2345
const TRIALS = 12

const memory = new WebAssembly.Memory({ initial: 256 })
const view = new DataView(memory.buffer)
const bytes = Buffer.from(memory.buffer)
let handled = 0
const interpreters: { [K in 32 | 64]?: InterpreterExports } = {}

function instantiate(width: 32 | 64): InterpreterExports {
  const handler = (): number => {
    handled += 1
    return STATUS.CHECK
  }
  const loadGroup = (group: number): void => {
    const { singles, readHost, writeHost, commit } = interpreters[width]!
    new WebAssembly.Instance(compileGroup(LATER_GROUPS[group]!, width), { env: { memory, singles, readHost, writeHost, commit, handler } })
  }
  const instance = new WebAssembly.Instance(compileInterpreter(width), {
    env: { memory, handler, loadGroup, codeWritten: () => {}, physical: () => 0, watched: () => 1 },
  })
  return instance.exports as unknown as InterpreterExports
}

/** A processor without paging, whose registers all lead to memory; `trial` varies flags and small values. */
function prepare(trial: number): void {
  bytes.fill(0, BASE, BASE + State.size)
  bytes.fill(0, GUEST + 0x8000, GUEST + 0x9400)
  for (let register = 0; register < 16; register += 1) view.setUint32(BASE + register * 8, GUEST + 0x8000 + register * 0x40, true)
  view.setUint32(BASE + GPR.rcx * 8, trial % 3, true)
  for (const field of [State.bank, State.codeLines, State.frameNotes, State.noteGroups, State.blockTable] as const) field.set(view, BASE, TABLES)
  State.bank.set(view, BASE, BASE + TLB.offset)
  State.physicalLow.set(view, BASE, GUEST)
  State.physicalSize.set(view, BASE, GUEST_BYTES)
  State.stackMask.set(view, BASE, 0xffff_ffff)
  for (let segment = 0; segment < 6; segment += 1) {
    view.setUint32(State.limits.at(BASE, segment), 0xffff_ffff, true)
    view.setUint32(State.attributes.at(BASE, segment), segment === 1 ? 0xc09b : 0xc093, true)
  }
  State.mxcsr.set(view, BASE, 0x1fa0)
  State.rip.setParts(view, BASE, RIP, 0)
  State.budget.set(view, BASE, BUDGET)
  State.host.set(view, BASE, GUEST + 0x8000)
  // Each of the six flags, and pairs of them, in turn.
  State.flagResult.setParts(view, BASE, [0, 1, 2, 3][trial % 4]!, (trial & 4) === 0 ? 0 : -1 >>> 0)
  State.flagHigh.set(view, BASE, (trial & 3) << 30)
  // What is on top of the stack, and where the frame pointer leads.
  for (const at of [GPR.rsp, GPR.rbp]) view.setBigUint64(GUEST + 0x8000 + at * 0x40, BigInt(TARGET), true)
}

function writeRecords({ facts }: Micro, number: number, first: number): void {
  const isVector = (place: number): boolean => facts.operands.some(({ field, file }) => RECORD[field] === place && file === 'vector')
  const record = BLOCK_AT + BLOCK.bytes
  new Uint8Array(memory.buffer).fill(0, BLOCK_AT, BLOCK_AT + 64)
  view.setUint32(BLOCK_AT + BLOCK.count, 1, true)
  view.setUint16(record + RECORD.number, number, true)
  view.setUint8(record + RECORD.destination, isVector(RECORD.destination) ? VECTOR_UNIT.xmm + 1 : first)
  // The second register's slot, 24, is a count of shifts as well.
  view.setUint8(record + RECORD.source, isVector(RECORD.source) ? VECTOR_UNIT.xmm + 2 : GPR.rbx * 8)
  view.setUint8(record + RECORD.index, SLOT.zero)
  view.setUint8(record + RECORD.scale, facts.address === 2 ? SLOT.zero : 0)
  const ends = new Set<End>(['branch', 'conditional', 'end'])
  view.setInt32(record + RECORD.displacement, ends.has(facts.ends) ? DISTANCE : 0, true)
  const ip = (RIP & 0xfff) | (LENGTH << 12)
  view.setUint16(record + RECORD.ip, ip, true)
  view.setUint16(record + RECORD.bytes + RECORD.ip, ip, true)
}

interface Outcome {
  readonly status: number
  readonly rip: number
  readonly spent: number
  readonly handled: number
}

function execute(micro: Micro, number: number, trial: number, flags?: number): Outcome {
  const width = micro.group === 'segmented' ? 32 : 64
  prepare(trial)
  writeRecords(micro, number, micro.facts.ends === 'conditional' ? BEHIND : GPR.rsi * 8)
  view.setUint32(BASE + GPR.rsi * 8, micro.facts.ends === 'jump' ? TARGET : GUEST + 0x9000, true)
  if (flags !== undefined) writeFlags(view, BASE, flags)
  handled = 0
  const status = interpreters[width]!.run(BASE, BLOCK_AT)
  return { status, rip: State.rip.low(view, BASE), spent: BUDGET - State.budget.get(view, BASE), handled }
}

/** What is left of an address that 16 bits hold. */
const cut = (address: number, width: number | undefined): number => (width === 16 ? address & 0xffff : address)
const NEXT = RIP + LENGTH

/** Names an outcome as an end. */
function endOf(micro: Micro, { status, rip, spent, handled: calls }: Outcome): End | 'fault' {
  const at = (address: number, cost: number): boolean => status === STATUS.NEED_BLOCK && rip === address && spent === cost
  if (status === STATUS.FAULT) return 'fault'
  if (calls > 0 && status === STATUS.CHECK) return 'handler'
  if (at(NEXT, 1) && calls === 0) return 'next'
  if (at(NEXT + DISTANCE, 1)) return micro.facts.ends === 'end' ? 'end' : 'branch'
  if (at(NEXT + DISTANCE, 1 - BEHIND)) return 'conditional'
  if (at(cut(TARGET, micro.facts.width), 1)) return 'jump'
  throw new Error(`${micro.name} ended with status ${status} at ${rip.toString(16)}, ${spent} spent`)
}

const table = microTable()
const singles = table.all.map((micro, number) => ({ micro, number })).filter(({ micro }) => micro.pair === undefined)
const operations = [...new Set(singles.map(({ micro }) => micro.parts[0]))].filter((operation) => operation !== 'string')

describe('a block of one micro-operation ends as that declares', () => {
  beforeAll(() => {
    for (const width of [32, 64] as const) interpreters[width] = instantiate(width)
    for (let at = BASE + TLB.offset; at < BASE + TLB.offset + 2 * TLB.bankBytes; at += 8) view.setUint32(at, NO_TAG, true)
  })

  test.each(operations)('%s', (operation) => {
    for (const { micro, number } of singles.filter((single) => single.micro.parts[0] === operation)) {
      const seen = new Set(Array.from({ length: TRIALS }, (_, trial) => endOf(micro, execute(micro, number, trial))))
      const { ends, raises, handler } = micro.facts
      const allowed = new Set<End | 'fault'>([ends])
      if (ends === 'conditional') allowed.add('next')
      if (raises) allowed.add('fault')
      if (handler === 'perhaps') allowed.add('handler')
      expect([...seen].filter((end) => !allowed.has(end)), micro.name).toEqual([])
      // Nothing is declared that never happens: faults and handlers are for operands that are not tried here.
      if (ends === 'conditional') expect([...seen].sort(), micro.name).toEqual(['conditional', 'next'])
    }
  })

  test.each(singles.filter(({ micro }) => micro.facts.ends === 'repeat'))('$micro.name pays for its repetitions', ({ micro, number }) => {
    const repeat = (count: number, budget: number): Outcome => {
      prepare(0)
      writeRecords(micro, number, 0)
      const record = BLOCK_AT + BLOCK.bytes
      view.setUint8(record + RECORD.repeat, 1)
      view.setUint8(record + RECORD.addressSize, 32)
      view.setUint32(BASE + GPR.rcx * 8, count, true)
      view.setUint32(BASE + GPR.rax * 8, 0, true)
      State.budget.set(view, BASE, budget)
      const status = interpreters[micro.group === 'segmented' ? 32 : 64]!.run(BASE, BLOCK_AT)
      return { status, rip: State.rip.low(view, BASE), spent: budget - State.budget.get(view, BASE), handled: 0 }
    }
    expect(micro.facts.price).toBe('repetition')
    expect(repeat(5, BUDGET)).toMatchObject({ status: STATUS.NEED_BLOCK, rip: NEXT, spent: 5 })
    expect(repeat(5, 3)).toMatchObject({ status: STATUS.PARTIAL })
  })

  const FLAGS = [RFLAGS.CF, RFLAGS.PF, RFLAGS.AF, RFLAGS.ZF, RFLAGS.SF, RFLAGS.OF]
  /** Everything but the flags that an execution leaves, and the flags. */
  const after = (single: (typeof singles)[number], flags: number): { readonly rest: Buffer; readonly flags: number } => {
    const outcome = execute(single.micro, single.number, 2, flags)
    const parts = [[BASE, BASE + State.flagResult.offset], [State.rip.offset + BASE, BASE + State.budget.offset], [GUEST + 0x8000, GUEST + 0x9400]] as const
    return {
      rest: Buffer.concat([Buffer.from([outcome.status]), ...parts.map(([from, to]) => bytes.subarray(from, to))]),
      flags: readFlags(view, BASE) & ARITHMETIC_FLAGS,
    }
  }

  test.each(operations.filter((operation) => operation !== 'handler'))('%s depends on the flags it names, and sets those', (operation) => {
    for (const single of singles.filter(({ micro }) => micro.parts[0] === operation && micro.facts.handler === 'never')) {
      const { flagsRead, flagsWritten, flagsOverwritten } = single.micro.facts
      let [read, written] = [0, 0]
      for (const flags of [0, ARITHMETIC_FLAGS, RFLAGS.ZF | RFLAGS.OF, RFLAGS.SF | RFLAGS.CF]) {
        const usual = after(single, flags)
        written |= usual.flags ^ flags
        for (const flag of FLAGS) {
          const other = after(single, flags ^ flag)
          // A flag that is left alone stays as different as it was.
          const compared = (flagsOverwritten & flag) !== 0 ? ARITHMETIC_FLAGS : ARITHMETIC_FLAGS & ~flag
          if (!usual.rest.equals(other.rest) || ((usual.flags ^ other.flags) & compared) !== 0) read |= flag
        }
      }
      expect([single.micro.name, read, written & ~flagsWritten]).toEqual([single.micro.name, flagsRead, 0])
    }
  })

  test('what a handler does is paid as handlers are', () => {
    for (const { micro } of singles) {
      const { handler, price, ends } = micro.facts
      expect(price, micro.name).toBe(ends === 'repeat' ? 'repetition' : handler === 'never' ? 'none' : 'handler')
    }
  })
})
