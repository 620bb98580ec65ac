/**
 * Writing RFLAGS from memory: what POPF and IRET may change in which ring.
 * Reference: Intel SDM volume 2, POPF, IRET; volume 3, section 2.3.
 */
import { RFLAGS } from '../../../x86/index.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import { rows, type Handlers } from './rows.ts'

/** Flags that POPF and IRET may change in ring 3. */
const USER_FLAGS = 0xdd5 | RFLAGS.TF | RFLAGS.NT | RFLAGS.AC | RFLAGS.ID

/**
 * Takes new flags as the ring allows, of which `size` bytes were given. IRET sets RF, which matters only while there
 * are breakpoints on instructions; POPF clears it.
 */
export function takeAllowedFlags(
  { bare, registers, mode, debug }: Views<'bare' | 'registers' | 'mode' | 'debug'>, value: number, size: number,
  by: 'popf' | 'iret',
): void {
  let mask = USER_FLAGS
  // All arithmetic flags are among those that are taken.
  const old = registers.systemFlags
  if (bare) {
    if (registers.cpl <= registers.iopl) mask |= RFLAGS.IF
    if (registers.cpl === 0) mask |= RFLAGS.IOPL
  }
  if (by === 'iret' && debug.watchesCode) mask |= RFLAGS.RF
  if (size === 2) mask &= 0xffff
  const now = (old & ~(mask | RFLAGS.RF)) | (value & mask)
  registers.setFlags(now)
  if (((old ^ now) & RFLAGS.AC) !== 0) mode.updatePermissions()
}

function popFlags(core: Core, record: number): number {
  takeAllowedFlags(core, core.registers.low(SLOT.t0), core.records.field(record, RECORD.operandBytes), 'popf')
  return core.attention.isDue ? STATUS.CHECK : STATUS.RELOAD
}

/** CLI and STI of a bare processor: open to the rings up to IOPL. */
const mayMask = (registers: RegisterFile): boolean => registers.cpl <= registers.iopl

/** CLI. */
export function clearInterrupts({ registers, faults }: Views<'registers' | 'faults'>): number {
  if (!mayMask(registers)) return faults.protection()
  registers.setFlags(registers.flags() & ~RFLAGS.IF)
  return STATUS.NEXT
}

/** STI: interrupts come only behind the next instruction. */
export function setInterrupts(
  core: Views<'registers' | 'faults' | 'events' | 'attention' | 'progress'>, record: number,
): number {
  const { registers } = core
  if (!mayMask(registers)) return core.faults.protection()
  const flags = registers.flags()
  if ((flags & RFLAGS.IF) === 0) {
    registers.setFlags(flags | RFLAGS.IF)
    core.events.beginInterruptShadow('sti', core.progress.countWith(record))
  }
  return core.attention.isDue ? STATUS.CHECK : STATUS.NEXT
}

/** Handlers by name. */
export const FLAG_HANDLERS: Handlers = rows({ popf: popFlags }, { usesStack: true })
