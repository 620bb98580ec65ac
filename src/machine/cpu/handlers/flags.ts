/**
 * Writing RFLAGS from memory: what POPF and IRET may change in which ring.
 * Reference: Intel SDM volume 2, POPF, IRET; volume 3, section 2.3.
 */
import { RFLAGS } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import type { Handlers } from '../core/handler.ts'

/** Flags that POPF and IRET may change in ring 3. */
const USER_FLAGS = 0xdd5 | RFLAGS.TF | RFLAGS.NT | RFLAGS.AC | RFLAGS.ID

/**
 * Takes new flags as the ring allows, of which `size` bytes were given. IRET sets RF, which matters only while there
 * are breakpoints on instructions; POPF clears it.
 */
export function takeFlags(core: Core, value: number, size: number, by: 'popf' | 'iret'): void {
  let mask = USER_FLAGS
  const old = core.registers.flags()
  if (core.bare) {
    if (core.registers.cpl <= ((old >> 12) & 3)) mask |= RFLAGS.IF
    if (core.registers.cpl === 0) mask |= RFLAGS.IOPL
  }
  if (by === 'iret' && core.debug.watchesCode) mask |= RFLAGS.RF
  if (size === 2) mask &= 0xffff
  const now = (old & ~(mask | RFLAGS.RF)) | (value & mask)
  core.registers.setFlags(now)
  if (((old ^ now) & RFLAGS.AC) !== 0) core.mode.updatePermissions()
}

function popFlags(core: Core, record: number): number {
  takeFlags(core, core.registers.low(SLOT.t0), core.records.field(record, 'c'), 'popf')
  return core.attention.isDue ? STATUS.CHECK : STATUS.RELOAD
}

/** CLI and STI of a bare processor: open to the rings up to IOPL. */
const mayMask = (core: Core): boolean => core.registers.cpl <= ((core.registers.flags() >> 12) & 3)

/** CLI. */
export function clearInterrupts(core: Core): number {
  if (!mayMask(core)) return core.faults.protection()
  core.registers.setFlags(core.registers.flags() & ~RFLAGS.IF)
  return STATUS.NEXT
}

/** STI: interrupts come only behind the next instruction. */
export function setInterrupts(core: Core, record: number): number {
  if (!mayMask(core)) return core.faults.protection()
  const flags = core.registers.flags()
  if ((flags & RFLAGS.IF) === 0) {
    core.registers.setFlags(flags | RFLAGS.IF)
    core.events.beginShadow('sti', core.progress.countWith(record))
  }
  return core.attention.isDue ? STATUS.CHECK : STATUS.NEXT
}

/** Handlers by name. */
export const FLAG_HANDLERS: Handlers = { popf: popFlags }
