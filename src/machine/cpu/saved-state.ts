/**
 * A processor's architectural state as plain data, and back; what comes back is hostile until it has been looked at.
 */
import { XenError } from '../../util/index.ts'
import type { ProcessorState, SegmentState } from '../processor-types.ts'
import type { Core } from './core.ts'
import { FXSAVE_BYTES, MXCSR_MASK, readFxsave } from './handlers/fpu.ts'
import type { CoreRegisters } from './registers.ts'
import { State } from './state.ts'

const CONTROLS = [0, 2, 3, 4, 8] as const
const DEBUGS = [0, 1, 2, 3, 6, 7] as const

/** Takes the state out. */
export function saveState(core: Core, registers: CoreRegisters, fpu: Uint8Array): ProcessorState {
  const pairs = (numbers: readonly number[], low: (i: number) => number, high: (i: number) => number): number[] =>
    numbers.flatMap((i) => [low(i), high(i)])
  const general = Array.from({ length: 16 }, (_, i) => i)
  return {
    version: 1,
    general: pairs(general, (i) => registers.low(i), (i) => registers.high(i)),
    rip: core.long ? [State.rip.low(core.view, core.base), State.rip.high(core.view, core.base)] : [core.rip, 0],
    flags: registers.flags(),
    segments: [0, 1, 2, 3, 4, 5].map((i) => registers.segment(i)),
    control: pairs(CONTROLS, (i) => registers.controlLow(i), (i) => registers.controlHigh(i)),
    kernelGsBase: [registers.kernelGsBaseLow(), registers.kernelGsBaseHigh()],
    debug: pairs(DEBUGS, (i) => registers.debugLow(i), (i) => registers.debugHigh(i)),
    fpu: [...fpu],
    xcr0: State.xcr0.get(core.view, core.base),
  }
}

const isWord = (value: unknown): value is number => typeof value === 'number' && value >>> 0 === value

function words(value: unknown, length: number, name: string): readonly number[] {
  const fits = Array.isArray(value) && value.length === length && value.every(isWord)
  if (!fits) throw new XenError('INVALID_STATE', `a processor's ${name} is not ${length} words`, { details: { name } })
  return value as readonly number[]
}

function checkSegments(value: unknown): readonly SegmentState[] {
  const good = (s: SegmentState | null): boolean =>
    typeof s === 'object' && s !== null && [s.selector, s.baseLow, s.baseHigh, s.limit, s.attributes].every(isWord)
  if (!Array.isArray(value) || value.length !== 6 || !value.every(good)) {
    throw new XenError('INVALID_STATE', "a processor's segments are not six descriptors")
  }
  return value as readonly SegmentState[]
}

/** Looks at everything, then takes it. */
export function restoreState(core: Core, registers: CoreRegisters, state: ProcessorState): void {
  if (state.version !== 1) throw new XenError('INVALID_STATE', 'a processor state of another version')
  const general = words(state.general, 32, 'general registers')
  const rip = words(state.rip, 2, 'rip')
  const [flags] = words([state.flags], 1, 'flags')
  const segments = checkSegments(state.segments)
  const control = words(state.control, 2 * CONTROLS.length, 'control registers')
  const kernelGs = words(state.kernelGsBase, 2, 'kernel GS base')
  const debug = words(state.debug, 2 * DEBUGS.length, 'debug registers')
  const fpu = words(state.fpu, FXSAVE_BYTES, 'FXSAVE image')
  const [xcr0] = words([state.xcr0], 1, 'XCR0')
  const image = new DataView(Uint8Array.from(fpu).buffer)
  if ((image.getUint32(24, true) & ~MXCSR_MASK) !== 0) {
    throw new XenError('INVALID_STATE', 'MXCSR has reserved bits set')
  }
  for (let i = 0; i < 16; i += 1) registers.set(i, general[i * 2]!, general[i * 2 + 1]!)
  registers.setRip(rip[0]!, rip[1]!)
  CONTROLS.forEach((number, i) => registers.setControl(number, control[i * 2]!, control[i * 2 + 1]!))
  segments.forEach((segment, i) => registers.setSegment(i, segment))
  registers.setFlags(flags!)
  registers.setKernelGsBase(kernelGs[0]!, kernelGs[1]!)
  DEBUGS.forEach((number, i) => registers.setDebug(number, debug[i * 2]!, debug[i * 2 + 1]!))
  readFxsave(core, image, 0)
  State.xcr0.set(core.view, core.base, xcr0!)
}
