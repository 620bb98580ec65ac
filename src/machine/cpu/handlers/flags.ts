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
  const old = core.flags()
  if (core.bare) {
    if (core.cpl <= ((old >> 12) & 3)) mask |= RFLAGS.IF
    if (core.cpl === 0) mask |= RFLAGS.IOPL
  }
  if (by === 'iret' && core.debug.watchesCode) mask |= RFLAGS.RF
  if (size === 2) mask &= 0xffff
  const now = (old & ~(mask | RFLAGS.RF)) | (value & mask)
  core.setFlags(now)
  if (((old ^ now) & RFLAGS.AC) !== 0) core.updatePermissions()
}

function popFlags(core: Core, record: number): number {
  takeFlags(core, core.low(SLOT.t0), core.field(record, 'c'), 'popf')
  return core.isCareful ? STATUS.CHECK : STATUS.RELOAD
}

/** CLI and STI of a bare processor: open to the rings up to IOPL. */
const mayMask = (core: Core): boolean => core.cpl <= ((core.flags() >> 12) & 3)

/** CLI. */
export function clearInterrupts(core: Core): number {
  if (!mayMask(core)) return core.protection()
  core.setFlags(core.flags() & ~RFLAGS.IF)
  return STATUS.NEXT
}

/** STI: interrupts come only behind the next instruction. */
export function setInterrupts(core: Core, record: number): number {
  if (!mayMask(core)) return core.protection()
  const flags = core.flags()
  if ((flags & RFLAGS.IF) === 0) {
    core.setFlags(flags | RFLAGS.IF)
    core.castShadow('sti', record)
  }
  return core.isCareful ? STATUS.CHECK : STATUS.NEXT
}

/** Handlers by name. */
export const FLAG_HANDLERS: Handlers = { popf: popFlags }
