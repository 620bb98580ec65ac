/** How often the vCPUs of a domain came back to the hypervisor, by why, together. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'

/** The counts of a domain that has processors. */
export function exitsOf(control: ControlInterface, domid: DomId): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const profile of control.profileVcpus(domid)) {
    for (const [why, count] of Object.entries(profile?.exits ?? {})) counts[why] = (counts[why] ?? 0) + count
  }
  return counts
}
