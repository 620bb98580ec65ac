/**
 * A vCPU's registers between a processor's state and the CPU record of a saved domain. Nothing is judged here: the processor
 * looks at what it is to take.
 * Reference: xen/include/public/arch-x86/hvm/save.h, struct hvm_hw_cpu; xen/arch/x86/hvm/hvm.c, hvm_save_cpu_ctxt, hvm_load_cpu_ctxt.
 */
import { HvmHwCpu, X86_FPU_INITIALISED } from '../../../abi/index.ts'
import type { ProcessorState, ProcessorSystemState, SegmentState, TableState } from '../../../machine/index.ts'
import { bigFromParts } from '../../../util/index.ts'
import { DR6, MSR } from '../../../x86/index.ts'

/** General registers by x86's numbers, as the record names them. */
const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
/** Segment registers by x86's numbers. */
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const
/** Model-specific registers that are fields of the record. */
const MSRS = [
  [MSR.SYSENTER_CS, 'sysenterCs'], [MSR.SYSENTER_ESP, 'sysenterEsp'], [MSR.SYSENTER_EIP, 'sysenterEip'], [MSR.LSTAR, 'msrLstar'],
  [MSR.STAR, 'msrStar'], [MSR.CSTAR, 'msrCstar'], [MSR.SFMASK, 'msrSyscallMask'], [MSR.TSC_AUX, 'msrTscAux'],
] as const
const CONTROLS = ['cr0', 'cr2', 'cr3', 'cr4'] as const
const DEBUGS = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const

type Name = (typeof SEGMENTS)[number] | 'tr' | 'ldtr'
type Halves = readonly [low: number, high: number]

/** x87 and SSE as after reset. */
const FRESH_FPU: readonly number[] = /* @__PURE__ */ Array.from({ length: 512 }, (_, i) => (i === 0 ? 0x7f : i === 1 ? 0x03 : i === 24 ? 0x80 : i === 25 ? 0x1f : 0))

/** A hardware exception that is to be delivered first: vector, kind, whether it has an error code, and that there is one. */
const EVENT = { VECTOR: 0xff, KIND: 0x300, HAS_CODE: 0x800, VALID: 0x8000_0000 } as const

/** Descriptor bits with the four of the upper byte pushed down, as records have them. */
const packed = (attributes: number): number => (attributes & 0xff) | ((attributes >>> 4) & 0xf00)
/** The other way round. */
export const unpackAttributes = (bytes: number): number => (bytes & 0xff) | ((bytes & 0xf00) << 4)

/** Writes a processor's state as a CPU record at `base`. */
export function encodeCpu(state: ProcessorState, view: DataView, base: number): void {
  const system = state.system!
  const pair = (values: readonly number[], i: number): bigint => bigFromParts(values[i * 2]!, values[i * 2 + 1]!)
  HvmHwCpu.fpuRegs.set(view, base, Uint8Array.from(state.fpu))
  GENERAL.forEach((name, i) => HvmHwCpu[name].set(view, base, pair(state.general, i)))
  HvmHwCpu.rip.set(view, base, pair(state.rip, 0))
  HvmHwCpu.rflags.set(view, base, BigInt(state.flags))
  CONTROLS.forEach((name, i) => HvmHwCpu[name].set(view, base, pair(state.control, i)))
  DEBUGS.forEach((name, i) => HvmHwCpu[name].set(view, base, pair(state.debug, i)))
  SEGMENTS.forEach((name, i) => encodeSegment(name, state.segments[i]!, view, base))
  encodeSegment('tr', system.tr, view, base)
  encodeSegment('ldtr', system.ldtr, view, base)
  for (const name of ['gdt', 'idt'] as const) {
    HvmHwCpu[`${name}rLimit`].set(view, base, system[name].limit)
    HvmHwCpu[`${name}rBase`].setParts(view, base, system[name].baseLow, system[name].baseHigh)
  }
  const values = new Map(system.msrs.map(([register, low, high]) => [register, [low, high] as const]))
  for (const [register, name] of MSRS) HvmHwCpu[name].setParts(view, base, ...(values.get(register) ?? [0, 0]))
  HvmHwCpu.shadowGs.setParts(view, base, ...state.kernelGsBase)
  HvmHwCpu.msrEfer.set(view, base, BigInt(system.efer))
  HvmHwCpu.tsc.setParts(view, base, ...system.timestamp)
  if (system.raised !== undefined) {
    const { vector, errorCode } = system.raised
    HvmHwCpu.pendingEvent.set(view, base, (EVENT.VALID | EVENT.KIND | (errorCode === undefined ? 0 : EVENT.HAS_CODE) | vector) >>> 0)
    HvmHwCpu.errorCode.set(view, base, errorCode ?? 0)
  }
  HvmHwCpu.flags.set(view, base, X86_FPU_INITIALISED)
}

/** The state that a CPU record at `base` makes of a processor which has another one. */
export function decodeCpu(before: ProcessorState, view: DataView, base: number): ProcessorState {
  const at = HvmHwCpu
  const wide = (name: (typeof GENERAL)[number] | (typeof CONTROLS)[number] | (typeof DEBUGS)[number] | 'rip'): number[] => [at[name].low(view, base), at[name].high(view, base)]
  const hasFpu = (at.flags.get(view, base) & X86_FPU_INITIALISED) !== 0
  const { upper: _upper, ...rest } = before
  return {
    ...rest, general: GENERAL.flatMap(wide), rip: wide('rip') as unknown as Halves, flags: at.rflags.low(view, base),
    segments: SEGMENTS.map((name) => decodeSegment(name, view, base)),
    // CR8 follows from the local APIC.
    control: [...CONTROLS.flatMap(wide), 0, 0],
    kernelGsBase: [at.shadowGs.low(view, base), at.shadowGs.high(view, base)],
    debug: DEBUGS.flatMap((name) => (name === 'dr6' ? [(at.dr6.low(view, base) | DR6.ONES) >>> 0, 0] : wide(name))),
    fpu: hasFpu ? [...at.fpuRegs.get(view, base)] : FRESH_FPU,
    shadow: 'none', debugTrap: 0, system: decodeSystem(before.system!, view, base),
  }
}

function decodeSystem(before: ProcessorSystemState, view: DataView, base: number): ProcessorSystemState {
  const at = HvmHwCpu
  const table = (name: 'gdt' | 'idt'): TableState => ({
    baseLow: at[`${name}rBase`].low(view, base), baseHigh: at[`${name}rBase`].high(view, base), limit: at[`${name}rLimit`].get(view, base) & 0xffff,
  })
  const fields = new Map<number, (typeof MSRS)[number][1]>(MSRS)
  const event = at.pendingEvent.get(view, base)
  const raised = (event & EVENT.VALID) === 0 ? undefined : {
    vector: event & EVENT.VECTOR, errorCode: (event & EVENT.HAS_CODE) === 0 ? undefined : at.errorCode.get(view, base),
  }
  const { raised: _raised, ...rest } = before
  return {
    ...rest, gdt: table('gdt'), idt: table('idt'), ldtr: decodeSegment('ldtr', view, base), tr: decodeSegment('tr', view, base),
    efer: at.msrEfer.low(view, base), timestamp: [at.tsc.low(view, base), at.tsc.high(view, base)],
    msrs: before.msrs.map(([register, low, high]) => {
      const name = fields.get(register)
      return name === undefined ? [register, low, high] as const : [register, at[name].low(view, base), at[name].high(view, base)] as const
    }),
    interrupts: [], nmi: false, nmiBlocked: false, activity: 'running', ...(raised === undefined ? {} : { raised }),
  }
}

function encodeSegment(name: Name, { selector, baseLow, baseHigh, limit, attributes }: SegmentState, view: DataView, base: number): void {
  HvmHwCpu[`${name}Sel`].set(view, base, selector)
  HvmHwCpu[`${name}Limit`].set(view, base, limit)
  HvmHwCpu[`${name}Base`].setParts(view, base, baseLow, baseHigh)
  HvmHwCpu[`${name}Arbytes`].set(view, base, packed(attributes))
}

function decodeSegment(name: Name, view: DataView, base: number): SegmentState {
  return {
    selector: HvmHwCpu[`${name}Sel`].get(view, base) & 0xffff, limit: HvmHwCpu[`${name}Limit`].get(view, base),
    baseLow: HvmHwCpu[`${name}Base`].low(view, base), baseHigh: HvmHwCpu[`${name}Base`].high(view, base),
    attributes: unpackAttributes(HvmHwCpu[`${name}Arbytes`].get(view, base)),
  }
}

/** Bits of a record that Xen has no meaning for: those that make it no record. */
export function isSoundCpu(view: DataView, base: number): boolean {
  const at = HvmHwCpu
  const high = [at.rflags, at.cr0, at.cr4, at.msrEfer, at.dr7].every((field) => field.high(view, base) === 0)
  return high && (at.flags.get(view, base) & ~X86_FPU_INITIALISED) === 0
}

