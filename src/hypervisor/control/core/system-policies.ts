/**
 * What CPUID could tell domains of a kind, whether or not there are any: the policies that a toolstack starts from, and their features
 * as words. They follow from the machine's processors alone, so that each is made once.
 * Reference: xen/arch/x86/sysctl.c, XEN_SYSCTL_get_cpu_policy; public/arch-x86/cpufeatureset.h.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { CpuidAnswer } from '../../../x86/index.ts'
import { type CpuPolicy, describePolicy } from '../../domains/cpu-policy.ts'
import type { CpuidReader, DomainKind } from '../../domains/domain-kind.ts'

/** What they are made of. */
export interface SystemPolicyParts {
  readonly processors: { look<T>(at: (processor: CpuidReader) => T): T | number }
}

/** Kinds of guests as far as their processors are described. */
export type DescribedKind = Pick<DomainKind<never>, 'name' | 'describeProcessor'>

/** Where the words of a featureset stand in CPUID: those without a place are of registers that nothing here has. */
const WORDS: readonly (readonly [leaf: number, subleaf: number, register: 0 | 1 | 2 | 3] | undefined)[] = [
  [1, 0, 3], [1, 0, 2], [0x8000_0001, 0, 3], [0x8000_0001, 0, 2], [0xd, 1, 0], [7, 0, 1], [7, 0, 2], [0x8000_0007, 0, 3],
  [0x8000_0008, 0, 1], [7, 0, 3], [7, 1, 0], [0x8000_0021, 0, 0], [7, 1, 1], [7, 2, 3], [7, 1, 2], [7, 1, 3], undefined, undefined,
  [0x8000_0021, 0, 2],
]

/** Words of a featureset (FSCAPINTS). */
export const FEATURE_WORDS = WORDS.length

/** Policies of one host. */
export class SystemPolicies {
  private readonly parts: SystemPolicyParts
  private readonly known = new Map<string, CpuPolicy>()

  constructor(parts: SystemPolicyParts) {
    this.parts = parts
  }

  /** What domains of a kind could be told, or without one what processors tell: -EOPNOTSUPP on a host without any. */
  of(kind?: DescribedKind): CpuPolicy | number {
    const name = kind?.name ?? ''
    const known = this.known.get(name)
    if (known !== undefined) return known
    if (kind !== undefined && kind.describeProcessor === undefined) return -ERRNO.EOPNOTSUPP
    const policy = this.parts.processors.look((processor) => describePolicy((leaf, subleaf): CpuidAnswer =>
      kind?.describeProcessor?.(processor, leaf, subleaf) ?? processor.cpuid(leaf, subleaf)))
    if (typeof policy !== 'number') this.known.set(name, policy)
    return policy
  }
}

/** The words of a policy's features. */
export function featuresetOf({ cpuid }: CpuPolicy): number[] {
  return WORDS.map((place) => {
    if (place === undefined) return 0
    const [leaf, subleaf, register] = place
    const found = cpuid.find((one) => one.leaf === leaf && (one.subleaf === subleaf || (subleaf === 0 && one.subleaf === 0xffff_ffff)))
    return found === undefined ? 0 : [found.eax, found.ebx, found.ecx, found.edx][register]!
  })
}
