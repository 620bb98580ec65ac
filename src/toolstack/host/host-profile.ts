/** Where guests spend their instructions: of a domain, of a whole host; and what the compiling tier has made of their code. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { mergeProfiles, type CompilerFigures, type ProcessorProfile, type RegionProfile } from '../../machine/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { HostParts } from '../boot/boot-host.ts'

/** The profile of a domain, its vCPUs together. */
export interface DomainProfile {
  readonly domid: DomId
  readonly name: string
  readonly profile: ProcessorProfile
}

/** What a host tells of its guests' code. */
export interface HostProfile {
  /** Guests on processors of the machine, those that are still there. */
  readonly domains: readonly DomainProfile[]
  /** Compiled regions of all guests, the most sampled first. */
  readonly regions: readonly RegionProfile[]
  /** What the compiling tier has done; undefined where there is none. */
  readonly compiler: CompilerFigures | undefined
}

/** A domain's profile: of one vCPU, or of all of them together. Throws INVALID_STATE where nothing is sampled of it. */
export function profileOf(control: ControlInterface, domid: DomId, vcpu: number | undefined): ProcessorProfile {
  const profiles = control.profileVcpus(domid)
  const chosen = (vcpu === undefined ? profiles : [profiles[vcpu]]).filter((one) => one !== undefined)
  if (chosen.length > 0) return mergeProfiles(chosen)
  throw new XenError('INVALID_STATE', `vCPU ${vcpu} of domain ${domid} has no processor`, { details: { domid, vcpu } })
}

/** Profiles of all guests that have one. */
export function profileHost(
  { control, machine }: Pick<HostParts, 'control' | 'machine'>,
  guests: readonly { readonly id: DomId; readonly name: string }[],
): HostProfile {
  const domains = guests.flatMap(({ id, name }) => {
    const { hasRegisters } = control.domainInfo(id)
    return hasRegisters ? [{ domid: id, name, profile: profileOf(control, id, undefined) }] : []
  })
  return { domains, regions: machine.regions(), compiler: machine.compilerFigures() }
}
