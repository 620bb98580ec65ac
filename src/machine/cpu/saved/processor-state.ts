/**
 * A processor's architectural state as plain data, and back; what comes back is hostile until it has been looked at.
 * Version 1 knew hosted processors only and nothing of what waits between two instructions, version 2 no vectors of 256
 * bits.
 */
import { ATTRIBUTE, CR0, CR4, SEGMENT, XCR0 } from '../../../x86/index.ts'
import type { ProcessorState } from '../../interface/saved-state.ts'
import type { Registers, SegmentState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { INTERRUPT_SHADOWS } from '../core/events.ts'
import type { InterruptShadow } from '../core/events.ts'
import { FXSAVE_BYTES, MXCSR_MASK, readFxsave } from '../handlers/fpu.ts'
import { xcr0Bits } from '../cpuid/features.ts'
import { isXcr0 } from '../handlers/xsave.ts'
import { XSAVE } from '../layout/xsave-area.ts'
import { isSegment, isWord, refuse, words } from './checks.ts'
import { loadSystem, saveSystem } from './system-state.ts'
import { State } from '../layout/state.ts'
import { CR0_BITS, allowedCr4 } from '../system/features.ts'

const NO_UPPER: readonly number[] = new Array<number>(XSAVE.avxBytes).fill(0)
const CONTROLS = [0, 2, 3, 4, 8] as const
const DEBUGS = [0, 1, 2, 3, 6, 7] as const
/** Flags that exist, without virtual-8086 mode, which does not. */
const FLAGS = 0x3d_7fd7
/** Bits of DR6 that a trap can leave. */
const TRAP_BITS = 0xe00f

/** Takes the state out. `done`: instructions executed since the processor was made. */
export function saveState(
  core: Core, registers: Registers, more: { readonly fpu: readonly number[]; readonly done: number },
): ProcessorState {
  const pairs = (numbers: readonly number[], low: (i: number) => number, high: (i: number) => number): number[] =>
    numbers.flatMap((i) => [low(i), high(i)])
  const general = Array.from({ length: 16 }, (_, i) => i)
  return {
    version: 3,
    general: pairs(general, (i) => registers.low(i), (i) => registers.high(i)),
    rip: ripOf(core.registers),
    flags: registers.flags(),
    segments: [0, 1, 2, 3, 4, 5].map((i) => registers.segment(i)),
    control: pairs(CONTROLS, (i) => registers.controlLow(i), (i) => registers.controlHigh(i)),
    kernelGsBase: [registers.kernelGsBaseLow(), registers.kernelGsBaseHigh()],
    debug: pairs(DEBUGS, (i) => registers.debugLow(i), (i) => registers.debugHigh(i)),
    fpu: more.fpu,
    xcr0: State.xcr0.get(core.registers.view, core.registers.base),
    ...upperOf(core.registers),
    shadow: core.events.interruptShadow(more.done),
    debugTrap: core.debug.pending,
    ...(core.bare ? {} : { tscAux: registers.tscAux() }),
    system: core.bare ? saveSystem(core) : undefined,
  }
}

/** Upper halves of the vector registers, where one is not zero. */
function upperOf({ bytes, base }: RegisterFile): { upper?: readonly number[] } {
  const upper = [...bytes.subarray(base + State.ymmHigh.offset, base + State.ymmHigh.offset + XSAVE.avxBytes)]
  return upper.some((byte) => byte !== 0) ? { upper } : {}
}

/** Halves of RIP; outside of 64-bit mode the offset in CS. */
const ripOf = ({ view, base, long, rip }: RegisterFile): readonly [number, number] =>
  (long ? [State.rip.low(view, base), State.rip.high(view, base)] : [rip, 0])

function checkSegments(value: unknown): readonly SegmentState[] {
  if (!Array.isArray(value) || value.length !== 6 || !value.every(isSegment)) {
    refuse("a processor's segments are not six descriptors")
  }
  return value as readonly SegmentState[]
}

/** Rings and paging of a hosted processor are its host's protection; a bare one has only itself to harm. */
function checkProtection(
  { bare, outside, kernelRing }: Views<'bare' | 'outside' | 'kernelRing'>, control: readonly number[], segments: readonly SegmentState[],
): void {
  const [cr0, cr4] = [control[0]!, control[6]!]
  if (control[1] !== 0 || control[7] !== 0 || (cr0 & ~CR0_BITS) !== 0) refuse('control registers with reserved bits')
  const paging = (cr0 & CR0.PG) !== 0
  if (paging && (cr0 & CR0.PE) === 0) refuse('paging without protected mode')
  if (bare) {
    if (control[5] !== 0 || control[8]! > 15 || control[9] !== 0) refuse('CR3 or CR8 with reserved bits')
    if ((cr4 & ~allowedCr4(outside)) !== 0) refuse('CR4 has bits that CPUID does not offer', { cr4 })
    return
  }
  if (!paging || (cr4 & CR4.PAE) === 0) refuse('a hosted processor without paging')
  const rings = [segments[SEGMENT.cs]!, segments[SEGMENT.ss]!].map(({ selector }) => selector & 3)
  if (rings.some((ring) => ring < kernelRing)) refuse('a hosted processor in a ring of its host', { rings })
  const isLong = (segments[SEGMENT.cs]!.attributes & ATTRIBUTE.LONG) !== 0
  if (isLong && kernelRing !== 3) refuse('64-bit code in a 32-bit guest')
}

/** What version 1 lacks. */
type Saved = Omit<ProcessorState, 'version' | 'shadow' | 'debugTrap'> & {
  readonly version: number
  readonly shadow?: unknown
  readonly debugTrap?: unknown
}

/** Looks at everything, then takes it. `done`: instructions executed since the processor was made. */
export function loadState(core: Core, registers: Registers, state: ProcessorState, done: number): void {
  if (typeof state !== 'object' || state === null) refuse('a processor state that is no record')
  const saved = state as Saved
  if (![1, 2, 3].includes(saved.version)) refuse('a processor state of another version')
  const { shadow = 'none', debugTrap = 0 } = saved
  const general = words(saved.general, 32, 'general registers')
  const rip = words(saved.rip, 2, 'rip')
  const [flags] = words([saved.flags], 1, 'flags')
  const segments = checkSegments(saved.segments)
  const control = words(saved.control, 2 * CONTROLS.length, 'control registers')
  const kernelGs = words(saved.kernelGsBase, 2, 'kernel GS base')
  const debug = words(saved.debug, 2 * DEBUGS.length, 'debug registers')
  const fpu = words(saved.fpu, FXSAVE_BYTES, 'FXSAVE image')
  const [xcr0] = words([saved.xcr0], 1, 'XCR0')
  const upper = words(saved.upper ?? NO_UPPER, XSAVE.avxBytes, 'upper halves of vectors')
  const offered = xcr0Bits(core.level)
  if (!isXcr0(xcr0!, offered)) refuse('XCR0 has bits that the processor does not offer', { xcr0 })
  if ((offered & XCR0.AVX) === 0 && upper.some((byte) => byte !== 0)) refuse('vectors longer than the processor has')
  const [tscAux] = words([saved.tscAux ?? 0], 1, 'TSC_AUX')
  const image = new DataView(Uint8Array.from(fpu).buffer)
  if ((image.getUint32(24, true) & ~MXCSR_MASK) !== 0) refuse('MXCSR has reserved bits set')
  if ((flags! & ~FLAGS) !== 0) refuse('RFLAGS has reserved bits set', { flags })
  if (debug[9] !== 0 || debug[11] !== 0) refuse('DR6 or DR7 has reserved bits set')
  if (!INTERRUPT_SHADOWS.some((one) => one === shadow)) refuse('an interrupt shadow of an unknown kind')
  if (!isWord(debugTrap) || (debugTrap & ~TRAP_BITS) !== 0) refuse('a debug trap of an unknown kind')
  if ((saved.system !== undefined) !== core.bare) refuse('the state of a processor of another mode')
  checkProtection(core, control, segments)
  const takeSystem = saved.system === undefined ? () => {} : loadSystem(core, saved.system, control)
  // From here on nothing is refused.
  if (saved.system !== undefined) core.registers.efer = saved.system.efer
  for (let i = 0; i < 16; i += 1) registers.set(i, general[i * 2]!, general[i * 2 + 1]!)
  CONTROLS.forEach((number, i) => registers.setControl(number, control[i * 2]!, control[i * 2 + 1]!))
  segments.forEach((segment, i) => registers.setSegment(i, segment))
  registers.setRip(rip[0]!, rip[1]!)
  registers.setFlags(flags!)
  registers.setKernelGsBase(kernelGs[0]!, kernelGs[1]!)
  DEBUGS.forEach((number, i) => registers.setDebug(number, debug[i * 2]!, debug[i * 2 + 1]!))
  readFxsave(core.registers, image, 0)
  core.registers.bytes.set(upper, core.registers.base + State.ymmHigh.offset)
  core.mode.setXcr0(xcr0!)
  if (!core.bare) registers.setTscAux(tscAux!)
  core.debug.pending = debugTrap
  takeSystem()
  core.events.beginInterruptShadow(shadow as InterruptShadow, done)
}
