/**
 * Whether an access that is not canonical, or goes on beyond 4 GiB, is told as a stack fault: whether it goes through SS.
 * A record does not say it, as flat code needs no segment and a temporary may hold the address; so that the hit path
 * pays nothing, the instruction is decoded again when the fault is told.
 * Reference: Intel SDM volume 1, section 3.7.4 (default segments); volume 3, section 6.15 (#SS).
 */
import { GPR, SEGMENT } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { DECODED, NO_SEGMENT, type Instruction } from '../decode/decoder.ts'
import { STACK_USING } from '../handlers/table.ts'
import { RECORD } from '../layout/record.ts'
import { State } from '../layout/state.ts'
import { decodeAt } from '../tracing/code-at-rip.ts'
import { operandAccess, usesStack } from '../uops/facts.ts'
import type { MicroTable } from '../uops/micro-table.ts'

/** Tells which records' accesses go through the stack segment. */
export class StackFaults {
  private readonly table: MicroTable
  private readonly level: ProcessorLevel

  constructor(table: MicroTable, level: ProcessorLevel) {
    this.table = table
    this.level = level
  }

  /** True when the access of a record that failed at the state's fault address goes through the stack segment. */
  usesStack(core: Core, record: number): boolean {
    const { view, base } = core.registers
    const at = (slot: number): boolean => core.registers.low(slot) === State.faultAddress.low(view, base) &&
      core.registers.high(slot) === State.faultAddress.high(view, base)
    const { group, facts } = this.table.all[view.getUint16(record + RECORD.number, true)]!
    // Those that work on offsets have had their limits checked. POP to memory uses both; its own read is at the stack pointer.
    if (group === 'common' && usesStack(facts) && (operandAccess(facts) === undefined || at(GPR.rsp * 8))) return true
    if (group === 'common' && facts.ends === 'handler' && STACK_USING.has(view.getUint32(record + RECORD.immediate, true))) return true
    // Asked before the code is read, which takes the fault address for itself.
    const atSource = at(GPR.rsi * 8)
    const { result, instruction } = decodeAt(core, this.level)
    return result === DECODED.OK && namesStack(instruction, atSource)
  }
}

/** True when the operand in memory goes through SS; of a string instruction's two, the source has the override. */
function namesStack(i: Instruction, atSource: boolean): boolean {
  if (i.segment !== NO_SEGMENT) {
    if (i.segment !== SEGMENT.ss) return false
    const toDestination = i.row.kinds.some(({ place }) => place === 'rdi')
    return !toDestination || (atSource && i.row.kinds.some(({ place }) => place === 'rsi'))
  }
  return i.isMemory && (i.base === GPR.rsp || i.base === GPR.rbp)
}
