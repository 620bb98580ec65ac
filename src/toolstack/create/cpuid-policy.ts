/**
 * What a new domain is told by CPUID where its description says something of it: the policy that every domain has, with the bits that
 * are to be others. Whatever the hypervisor does not let be told is refused by name.
 * Reference: tools/libs/guest/xg_cpuid_x86.c, xc_cpuid_xend_policy; xen/arch/x86/cpu-policy.c, recalculate_cpuid_policy.
 */
import type { ControlInterface, CpuidLeaf } from '../../hypervisor/index.ts'
import { type DomId, XenError } from '../../util/index.ts'
import { CPU_FEATURES } from '../../x86/index.ts'
import { readCpuidMasks, type CpuidMask } from '../config/cpuid-masks.ts'

type Control = Pick<ControlInterface, 'getCpuPolicy' | 'setCpuPolicy'>
type Answer = [number, number, number, number]

const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const

const refused = (what: readonly string[], why: string): XenError =>
  new XenError('NOT_SUPPORTED', `cpuid is refused: ${why}: ${what.join(', ')}`, { details: { key: 'cpuid', fields: what } })

/** The leaf that a mask is about; one without subleaves, or the first, where it names none. */
const isOf = ({ leaf, subleaf }: CpuidMask) => (other: CpuidLeaf): boolean =>
  other.leaf === leaf && (subleaf === undefined ? other.subleaf === 0xffff_ffff || other.subleaf === 0 : other.subleaf === subleaf)

/** The bits of a register that a mask sets, and those that it clears. */
function bitsOf(mask: string | undefined): { readonly set: number; readonly clear: number } {
  const of = (character: string): number => [...mask ?? ''].reduce((bits, one) => bits * 2 + (one === character ? 1 : 0), 0)
  return { set: of('1'), clear: of('0') }
}

function changed(leaf: CpuidLeaf, masks: readonly CpuidMask[]): CpuidLeaf {
  const answer: Answer = [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
  for (const mask of masks.filter((one) => isOf(one)(leaf))) {
    mask.registers.forEach((bits, register) => {
      const { set, clear } = bitsOf(bits)
      answer[register] = ((answer[register]! & ~clear) | set) >>> 0
    })
  }
  const [eax, ebx, ecx, edx] = answer
  return { ...leaf, eax, ebx, ecx, edx }
}

/** A bit as a refusal calls it: `avx2 (leaf 0x7, EBX bit 5)`. */
function called({ leaf, subleaf = 0 }: CpuidMask, register: number, bit: number): string {
  const name = Object.entries(CPU_FEATURES).find(([, place]) => place.leaf === leaf && place.subleaf === subleaf && place.register === register && place.bit === bit)?.[0]
  return `${name ?? 'a bit'} (leaf 0x${leaf.toString(16)}, ${REGISTERS[register]!.toUpperCase()} bit ${bit})`
}

/** Bits that a guest is told otherwise than a mask says. */
function unkept(mask: CpuidMask, leaf: CpuidLeaf): string[] {
  return REGISTERS.flatMap((name, register) => {
    const { set, clear } = bitsOf(mask.registers[register])
    const wrong = ((set & ~leaf[name]) | (clear & leaf[name])) >>> 0
    return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (wrong >>> bit & 1) === 1).map((bit) => called(mask, register, bit))
  })
}

/**
 * Changes what CPUID tells a domain that has not run. Throws NOT_SUPPORTED, by name, for bits that the host does not offer or does not
 * let go, and for leaves that it does not have.
 */
export function applyCpuid(control: Control, domid: DomId, entries: readonly string[]): void {
  const masks = readCpuidMasks(entries)
  if (masks.length === 0) return
  const { cpuid, msrs } = control.getCpuPolicy(domid)
  if (cpuid.length === 0) throw refused(entries, 'nothing tells a guest without registers of a processor')
  const absent = masks.filter((mask) => !cpuid.some(isOf(mask)))
  if (absent.length > 0) {
    throw refused(absent.map(({ leaf, subleaf }) => `leaf 0x${leaf.toString(16)}${subleaf === undefined ? '' : `, subleaf ${subleaf}`}`), 'guests have no such leaf here')
  }
  control.setCpuPolicy(domid, { cpuid: cpuid.map((leaf) => changed(leaf, masks)), msrs })
  const told = control.getCpuPolicy(domid).cpuid
  const wrong = masks.flatMap((mask) => unkept(mask, told.find(isOf(mask)) ?? { leaf: mask.leaf, subleaf: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 }))
  if (wrong.length > 0) throw refused([...new Set(wrong)], 'guests are not told otherwise here')
}
