/**
 * The registers with which VCPUOP_initialise starts a vCPU of a translated guest: 16-bit and 32-bit code with segments of its
 * own, or 64-bit code with flat ones.
 * Reference: xen/arch/x86/hvm/domain.c, arch_set_info_hvm_guest, check_segment; public/hvm/hvm_vcpu.h.
 */
import { ERRNO, VCPU_HVM_MODE, VcpuHvmContext } from '../../../abi/index.ts'
import type { ProcessorState, SegmentState } from '../../../machine/index.ts'
import { XenError, isCanonical, signedFromParts } from '../../../util/index.ts'
import { ATTRIBUTE, CR0, CR4, EFER } from '../../../x86/index.ts'
import { unpackAttributes } from './hvm-registers.ts'
import type { PvhVcpu } from './pvh-vcpu.ts'

/** Bytes of vcpu_hvm_context. */
export const FIRST_REGISTERS_BYTES: number = VcpuHvmContext.size

/** General registers by x86's numbers, as the structure names them without their first letter. */
const GENERAL = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'] as const
const NONE: SegmentState = { selector: 0, baseLow: 0, baseHigh: 0, limit: 0, attributes: 0 }
const flat = (attributes: number, limit = 0xffff_ffff): SegmentState => ({ ...NONE, limit, attributes })
const [FLAT_CODE, FLAT_DATA, TASK] = [0xa09b, 0xc093, 0x8b] as const
const BUSY_TSS = 0xb
const TYPE = 0xf

/** What both forms give. */
interface FirstRegisters {
  readonly general: readonly number[]
  readonly rip: readonly [number, number]
  readonly flags: number
  readonly control: readonly number[]
  readonly efer: number
  readonly segments: Readonly<Record<'cs' | 'ds' | 'ss' | 'es' | 'tr', SegmentState>>
}

/** Gives a vCPU its first registers: 0, or -EINVAL for those that no processor could have, with nothing changed. */
export function setFirstRegisters({ processor }: PvhVcpu, view: DataView): number {
  const mode = VcpuHvmContext.mode.get(view, 0)
  const first = mode === VCPU_HVM_MODE['32B'] ? shortForm(view) : mode === VCPU_HVM_MODE['64B'] ? longForm(view) : undefined
  if (first === undefined) return -ERRNO.EINVAL
  try {
    processor.load(stateOf(processor.save(), first))
    return 0
  } catch (error) {
    if (XenError.is(error)) return -ERRNO.EINVAL
    throw error
  }
}

function stateOf(before: ProcessorState, { general, rip, flags, control, efer, segments }: FirstRegisters): ProcessorState {
  const { cs, ds, ss, es, tr } = segments
  return {
    ...before, general: [...general, ...new Array<number>(16).fill(0)], rip, flags, control, segments: [es, cs, ss, ds, NONE, NONE],
    shadow: 'none', debugTrap: 0, system: { ...before.system!, tr, efer, interrupts: [], nmi: false, nmiBlocked: false, activity: 'running' },
  }
}

function shortForm(view: DataView): FirstRegisters | undefined {
  const { layout } = VcpuHvmContext.x86_32
  const base = VcpuHvmContext.x86_32.at(0)
  const word = (name: Extract<keyof typeof layout, `e${string}` | `cr${string}`>): number => layout[name as 'eip'].get(view, base)
  const segment = (name: 'cs' | 'ds' | 'ss' | 'es' | 'tr'): SegmentState => ({
    ...NONE, baseLow: layout[`${name}Base`].get(view, base), limit: layout[`${name}Limit`].get(view, base),
    attributes: unpackAttributes(layout[`${name}Ar`].get(view, base)),
  })
  const segments = { cs: segment('cs'), ds: segment('ds'), ss: segment('ss'), es: segment('es'), tr: segment('tr') }
  const [eip, efer] = [word('eip'), layout.efer.low(view, base)]
  const isSound = areSound(segments) && eip <= scaled(segments.cs) && layout.efer.high(view, base) === 0
    && ((efer & EFER.LMA) === 0 || (efer & EFER.LME) !== 0)
  if (!isSound) return undefined
  return {
    general: GENERAL.flatMap((name) => [word(`e${name}`), 0]), rip: [eip, 0], flags: word('eflags') | 2, efer,
    control: [word('cr0') | CR0.ET, 0, 0, 0, word('cr3'), 0, word('cr4'), 0, 0, 0].map((value) => value >>> 0),
    segments: { ...segments, cs: { ...segments.cs, limit: scaled(segments.cs) }, ...dataOf(segments) },
  }
}

/** Limits in bytes. */
const dataOf = ({ ds, ss, es }: FirstRegisters['segments']) => ({
  ds: { ...ds, limit: scaled(ds) }, ss: { ...ss, limit: scaled(ss) }, es: { ...es, limit: scaled(es) },
})

const scaled = ({ limit, attributes }: SegmentState): number => ((attributes & ATTRIBUTE.GRANULAR) === 0 ? limit : ((limit << 12) | 0xfff) >>> 0)

function longForm(view: DataView): FirstRegisters | undefined {
  const { layout } = VcpuHvmContext.x86_64
  const base = VcpuHvmContext.x86_64.at(0)
  const pair = (name: `r${(typeof GENERAL)[number]}` | 'rip' | 'rflags' | 'cr0' | 'cr3' | 'cr4' | 'efer'): [number, number] => [layout[name].low(view, base), layout[name].high(view, base)]
  const rip = pair('rip')
  const [cr0, cr4, efer] = [pair('cr0'), pair('cr4'), pair('efer')]
  const isSound = isCanonical(signedFromParts(rip[0], rip[1])) && (cr0[0] & CR0.PG) !== 0 && (cr4[0] & CR4.PAE) !== 0
    && (efer[0] & EFER.LME) !== 0 && [cr0, cr4, efer].every(([, high]) => high === 0)
  if (!isSound) return undefined
  return {
    general: GENERAL.flatMap((name) => pair(`r${name}`)), rip, flags: pair('rflags')[0] | 2, efer: efer[0],
    control: [(cr0[0] | CR0.ET) >>> 0, 0, 0, 0, ...pair('cr3'), ...cr4, 0, 0],
    segments: { cs: flat(FLAT_CODE), ds: flat(FLAT_DATA), ss: flat(FLAT_DATA), es: flat(FLAT_DATA), tr: flat(TASK, 0x67) },
  }
}

/** Code is code, the stack is writable, data can be read, the task is a busy one; and their rings go together. */
function areSound({ cs, ds, ss, es, tr }: FirstRegisters['segments']): boolean {
  const has = ({ attributes }: SegmentState, bits: number): boolean => (attributes & bits) === bits
  const ring = ({ attributes }: SegmentState): number => attributes & ATTRIBUTE.DPL
  const isPresent = (segment: SegmentState): boolean => has(segment, ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT)
  const isData = (segment: SegmentState): boolean => segment.attributes === 0
    || (isPresent(segment) && !(has(segment, ATTRIBUTE.CODE) && !has(segment, ATTRIBUTE.READABLE)) && ring(segment) <= ring(cs))
  const isTask = !has(tr, ATTRIBUTE.SEGMENT) && has(tr, ATTRIBUTE.PRESENT) && (tr.attributes & TYPE) === BUSY_TSS
  const isStack = isPresent(ss) && !has(ss, ATTRIBUTE.CODE) && has(ss, ATTRIBUTE.WRITABLE) && ring(ss) === ring(cs)
  return isPresent(cs) && has(cs, ATTRIBUTE.CODE) && isStack && isData(ds) && isData(es) && isTask
}
