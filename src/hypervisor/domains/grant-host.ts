/** Domains as grant tables see them: frames with their owners, who may ask what, mappings that a kind of guest has entries for. */
import { ERRNO, GNTST } from '../../abi/index.ts'
import type { DomainMemory } from '../frames/domain-memory.ts'
import { FRAME_TYPE, type FrameTable } from '../frames/frame-table.ts'
import type { FrameTypes } from '../frames/frame-types.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import type { GrantFrames, MappingHost } from '../grants/index.ts'
import type { Access } from './access.ts'
import type { Vcpu } from './domain.ts'
import type { DomainRegistry } from './registry.ts'

/** What they are found in. */
export interface GrantFrameParts {
  readonly frames: FrameTable
  readonly pageTypes: FrameTypes
  readonly domainMemory: DomainMemory
  readonly domains: DomainRegistry
  readonly machineToPhys: MachineToPhys
}

/** What a host's grant tables need. */
export interface GrantHostParts extends GrantFrameParts, Pick<MappingHost<Vcpu>, 'memory' | 'meter'> {
  readonly access: Access
  /** Who ends domains. */
  readonly execution: Pick<MappingHost<Vcpu>, 'crash'>
}

/** Makes what a host's grant tables ask. */
export function grantHost({ execution, access, ...parts }: GrantHostParts): MappingHost<Vcpu> {
  const { memory, meter, domains } = parts
  return {
    memory, meter, frames: grantFrames(parts),
    mayControl: (caller, target) => domains.mayControl(caller, target, 'grant_table_op'),
    mayShare: (hook, caller, other) => access.mayShare(hook, caller, other),
    installMapping: (vcpu, request) => vcpu.owner.kind.grants?.install(vcpu, request) ?? GNTST.general_error,
    removeMapping: (vcpu, request) => vcpu.owner.kind.grants?.remove(vcpu, request) ?? GNTST.general_error,
    flushTlb: (id) => {
      const domain = domains.get(id)
      const mappings = domain?.kind.grants
      if (mappings !== undefined) for (const vcpu of domain!.vcpus) mappings.flush(vcpu)
    },
    crash: (vcpu, reason) => execution.crash(vcpu, reason),
  }
}

function grantFrames({ frames, pageTypes, domainMemory, domains, machineToPhys }: GrantFrameParts): GrantFrames {
  return {
    getPage: (mfn, owner) => frames.getPage(mfn, owner),
    putPage: (mfn) => frames.putPage(mfn),
    isOwnedBy: (mfn, owner) => frames.isOwnedBy(mfn, owner),
    isWritable: (mfn) => frames.isWritable(mfn),
    getWritable: (mfn) => pageTypes.getType(mfn, FRAME_TYPE.WRITABLE) === 0,
    putWritable: (mfn) => pageTypes.putType(mfn),
    allocateShared: (id) => {
      const domain = domains.get(id)
      return domain === undefined ? -1 : domainMemory.allocateShared(domain)
    },
    isUnmapped: (mfn) => frames.references[mfn] === 1,
    freeShared: (mfn) => {
      domains.get(frames.owner[mfn]!)?.guest?.physmap.forget(mfn)
      domainMemory.giveBack(mfn)
    },
    steal: (mfn, owner) => {
      const domain = domains.get(owner)
      return domain !== undefined && domainMemory.steal(mfn, domain) ? 0 : -ERRNO.EINVAL
    },
    adopt: (mfn, owner) => {
      const domain = domains.get(owner)
      return domain !== undefined && domainMemory.adopt(mfn, domain)
    },
    hasRoom: (id) => {
      const domain = domains.get(id)
      return domain !== undefined && !domain.dying && domain.totalPages < domain.maxPages
    },
    discard: (mfn) => domainMemory.discard(mfn),
    setPfn: (mfn, pfn) => machineToPhys.set(mfn, pfn),
  }
}
