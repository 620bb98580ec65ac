/**
 * What must hold of physical maps, held against the frame table: own frames are the domain's and know their place, others' are
 * under a mapping, and what has no place yet is the domain's too.
 */
import type { FrameLedger } from '../../domains/domain-kind.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import { PLACE } from '../../frames/physical-map.ts'
import type { GrantTables } from '../../grants/index.ts'
import { PvhDomain } from './pvh-domain.ts'

/** What the audit looks at. */
export interface PhysmapAuditParts {
  readonly domains: DomainRegistry
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  readonly grants: GrantTables<Vcpu>
}

/** Goes through the physical maps of all PVH domains. */
export function auditPhysmaps(parts: PhysmapAuditParts, ledger: FrameLedger): void {
  for (const domain of parts.domains.all()) if (domain.guest instanceof PvhDomain && !domain.dying) audit(parts, ledger, { domain, guest: domain.guest })
}

function audit(
  { frames, machineToPhys, grants }: PhysmapAuditParts, ledger: FrameLedger, { domain, guest }: { readonly domain: Domain; readonly guest: PvhDomain },
): void {
  const granted = new Map<number, boolean>()
  for (const { mfn, writable } of grants.mapped(domain.id)) granted.set(mfn, writable || granted.get(mfn) === true)
  let onDemand = 0
  for (const { gfn, mfn, kind } of guest.physmap.places()) {
    const what = `place ${gfn.toString(16)} of domain ${domain.id}`
    if (kind === PLACE.ON_DEMAND) onDemand += 1
    else if (kind === PLACE.OWN) {
      if (frames.owner[mfn] !== domain.id || !frames.hasFlag(mfn, FRAME_FLAG.ALLOCATED)) ledger.report(mfn, `lies at ${what}, and is not its own`)
      if (machineToPhys.get(mfn) !== gfn) ledger.report(mfn, `lies at ${what}, and is said to lie elsewhere`)
      if (frames.typeCount[mfn] !== 0 && frames.type[mfn] !== FRAME_TYPE.WRITABLE) ledger.report(mfn, `lies at ${what}, and is no plain memory`)
    } else if (granted.get(mfn) === undefined || (kind === PLACE.GRANTED && granted.get(mfn) === false)) {
      ledger.report(mfn, `lies at ${what} without a grant for it`)
    }
  }
  if (onDemand !== guest.physmap.onDemand) ledger.report(-1, `domain ${domain.id} counts ${guest.physmap.onDemand} places on demand and has ${onDemand}`)
  for (const mfn of guest.onDemand.save()) {
    if (frames.owner[mfn] !== domain.id || guest.physmap.placeOf(mfn) >= 0) ledger.report(mfn, `is in store for domain ${domain.id}, and in use`)
  }
}
