/**
 * Near branches of 64-bit code that an operand-size prefix makes 16 bits wide: AMD's processors cut the target and keep two
 * bytes on the stack, Intel's ignore the prefix. CPUID names AMD. Nobody uses them; so they are no micro-operations.
 * Reference: AMD64 APM volume 3, section 1.2.7 and JMP, CALL, RET (near), Jcc, LOOPcc.
 */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import type { Core, Views } from '../core/core.ts'
import { afterJump } from '../system/tables.ts'
import type { Handler } from '../core/handler.ts'
import { RECORD } from '../layout/record.ts'
import { ACCESS } from '../layout/state.ts'
import { rows, type Handlers } from './rows.ts'

const OPERAND_BYTES = 2

/** Where the instruction leads: a register, or as far behind it as the displacement says; 16 bits of it. */
function target({ registers, records }: Views<'registers' | 'records'>, record: number): number {
  const isSlot = records.field(record, RECORD.isRegister) === 1
  const whole = isSlot ? registers.low(records.field(record, RECORD.register)) : records.nextOf(record) + records.displacement(record)
  return whole & 0xffff
}

function goTo(core: Views<'registers' | 'code' | 'attention'>, address: number): number {
  core.registers.goTo(address)
  return afterJump(core)
}

/** Goes to the target, or on to the next instruction. */
const branchIf = (isTaken: (core: Core, record: number) => boolean): Handler => (core, record) =>
  goTo(core, isTaken(core, record) ? target(core, record) : core.records.nextOf(record))

function call(core: Core, record: number): number {
  const { memory, stack } = core
  const [to, back] = [target(core, record), core.records.nextOf(record)]
  const host = memory.hostForWrite(stack.place(-OPERAND_BYTES, OPERAND_BYTES, ACCESS.WRITE), OPERAND_BYTES)
  core.registers.view.setUint16(host, back & 0xffff, true)
  memory.finishWrite(host)
  stack.move(-OPERAND_BYTES)
  return goTo(core, to)
}

/** The displacement: bytes that are dropped from the stack besides. */
function ret(core: Core, record: number): number {
  const { stack } = core
  const to = core.memory.read16(stack.place(0, OPERAND_BYTES))
  stack.move(OPERAND_BYTES + core.records.displacement(record))
  return goTo(core, to)
}

/** One of the sixteen conditions, by the opcode's low four bits; record: SHAPES.shortBranch. */
function holds({ registers, records }: Views<'registers' | 'records'>, record: number): boolean {
  const code = records.field(record, RECORD.condition)
  const flags = registers.flags()
  const has = (bit: number): boolean => (flags & bit) !== 0
  const isLess = has(RFLAGS.SF) !== has(RFLAGS.OF)
  const conditions = [
    has(RFLAGS.OF), has(RFLAGS.CF), has(RFLAGS.ZF), has(RFLAGS.CF) || has(RFLAGS.ZF), has(RFLAGS.SF), has(RFLAGS.PF), isLess,
    isLess || has(RFLAGS.ZF),
  ]
  return conditions[code >> 1] !== ((code & 1) === 1)
}

/** RCX, or ECX with an address size of 32 bits. */
const isCountZero = ({ registers, records }: Views<'registers' | 'records'>, record: number): boolean =>
  registers.low(GPR.rcx * 8) === 0 && (records.field(record, RECORD.addressSize) === 32 || registers.high(GPR.rcx * 8) === 0)

function countDown({ registers, records }: Views<'registers' | 'records'>, record: number): void {
  const [low, high] = [registers.low(GPR.rcx * 8), registers.high(GPR.rcx * 8)]
  const upper = records.field(record, RECORD.addressSize) === 32 ? 0 : (high - (low === 0 ? 1 : 0)) >>> 0
  registers.setSlot(GPR.rcx * 8, (low - 1) >>> 0, upper)
}

/** LOOP and its kin: `zero` is what ZF has to be. */
const loop = (zero?: boolean): Handler => branchIf((core, record) => {
  countDown(core, record)
  const hasZero = (core.registers.flags() & RFLAGS.ZF) !== 0
  return !isCountZero(core, record) && (zero === undefined || zero === hasZero)
})

/** Handlers by name. */
export const SHORT_BRANCH_HANDLERS: Handlers = {
  ...rows({ 'short-call': call, 'short-ret': ret }, { usesStack: true }),
  ...rows({
    'short-jmp': branchIf(() => true), 'short-jCC': branchIf(holds),
    'short-loop': loop(), 'short-loope': loop(true), 'short-loopne': loop(false), 'short-jcxz': branchIf(isCountZero),
  }),
}
