/**
 * The part of a bare processor's saved state that a hosted one does not have: table registers, model-specific
 * registers, and what waits to interrupt it.
 */
import { CR0, CR4, EFER, MSR, hasErrorCode } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import type { ProcessorSystemState } from '../../interface/saved-state.ts'
import type { TableState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import { isSegment, isWord, refuse, words } from './checks.ts'
import { ACTIVITIES } from '../core/events.ts'
import type { RaisedException } from '../core/events.ts'
import { allowedEfer } from '../system/features.ts'
import { executedOutside, isMsrValue, readMsr, writeMsr } from '../system/msrs.ts'
import { PLAIN_MSRS } from '../core/system-registers.ts'

/** Takes it out. */
export function saveSystem(core: Views<'registers' | 'events' | 'progress' | 'outside' | 'system'>): ProcessorSystemState {
  const { system, events } = core
  return {
    gdt: system.gdt, idt: system.idt, ldtr: system.ldtr, tr: system.tr, efer: core.registers.efer,
    msrs: PLAIN_MSRS.map((register) => [register, ...system.plain(register)!] as const),
    timestamp: readMsr(core, MSR.TSC, executedOutside(core))!,
    interrupts: events.waiting(), nmi: events.nmi, nmiBlocked: events.nmiBlocked, activity: events.activity,
    ...(events.raised === undefined ? {} : { raised: events.raised }),
  }
}

const isTable = (value: unknown): value is TableState => {
  if (typeof value !== 'object' || value === null) return false
  const { baseLow, baseHigh, limit } = value as Record<keyof TableState, unknown>
  const fits = isWord(baseLow) && isWord(baseHigh) && isWord(limit) && limit <= 0xffff
  return fits && isCanonical(signedFromParts(baseLow, baseHigh))
}

/** An exception that a host has raised. */
const isRaised = (value: unknown): boolean => {
  if (typeof value !== 'object' || value === null) return false
  const { vector, errorCode } = value as Partial<RaisedException>
  return isWord(vector) && vector < 32 && (hasErrorCode(vector) ? isWord(errorCode) : errorCode === undefined)
}

/** Looks at everything; gives what takes it, which cannot fail. */
export function loadSystem(core: Core, state: ProcessorSystemState, control: readonly number[]): () => void {
  const { events, system } = core
  if (typeof state !== 'object' || state === null) refuse('a system state that is no record')
  const { gdt, idt, ldtr, tr, efer, msrs, timestamp, interrupts, nmi, nmiBlocked, activity, raised } = state
  if (!isTable(gdt) || !isTable(idt)) refuse('a descriptor table that is none')
  if (!isSegment(ldtr) || !isSegment(tr)) refuse('LDTR or TR is not a segment')
  if (!isWord(efer) || (efer & ~allowedEfer(core.outside)) !== 0) refuse('EFER has bits that CPUID does not offer', { efer })
  const active = (control[0]! & CR0.PG) !== 0 && (efer & EFER.LME) !== 0
  if (active !== ((efer & EFER.LMA) !== 0)) refuse('EFER.LMA does not follow from LME and paging', { efer })
  if (active && (control[6]! & CR4.PAE) === 0) refuse('long mode without physical-address extension')
  if (!Array.isArray(msrs) || msrs.length !== PLAIN_MSRS.length) refuse('model-specific registers are missing')
  const pairs = msrs.map((one) => words(one, 3, 'model-specific register'))
  pairs.forEach(([register, low, high], i) => {
    const isGood = register === PLAIN_MSRS[i] && isMsrValue(register!, [low!, high!])
    if (!isGood) refuse('a model-specific register is bad', { register })
  })
  const [stampLow, stampHigh] = words(timestamp, 2, 'time stamp')
  const isVector = (value: unknown): boolean => isWord(value) && value <= 255
  if (!Array.isArray(interrupts) || !interrupts.every(isVector)) refuse('an interrupt without a vector')
  if (typeof nmi !== 'boolean' || typeof nmiBlocked !== 'boolean') refuse('the NMI is neither there nor not')
  if (raised !== undefined && !isRaised(raised)) refuse('an exception of an unknown kind')
  if (!ACTIVITIES.includes(activity)) refuse('an activity of an unknown kind')
  return () => {
    Object.assign(system, { gdt: { ...gdt }, idt: { ...idt }, ldtr: { ...ldtr }, tr: { ...tr } })
    for (const [register, low, high] of pairs) system.setPlain(register!, low!, high!)
    writeMsr(core, MSR.TSC, [stampLow!, stampHigh!], executedOutside(core))
    events.clear()
    for (const vector of interrupts) events.request(vector)
    Object.assign(events, { nmi, nmiBlocked, activity, raised })
  }
}
