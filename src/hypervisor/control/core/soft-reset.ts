/**
 * Soft reset: a domain that has shut down goes on where it is, with all of its memory, but nothing of what it had with others is left:
 * event channels are closed, its vCPUs' records are in shared_info again, and shared_info itself has left its physical map, with a
 * frame of the same contents in its place. So a kernel that has put another one into memory can let that begin. Only translated domains
 * have it, as in Xen. Of grants nothing changes: whoever maps them lets them go by itself.
 * Reference: xen/common/domain.c, domain_soft_reset; xen/arch/x86/domain.c, arch_domain_soft_reset.
 */
import { ERRNO } from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import type { EventChannels } from '../../events/index.ts'
import type { DomainMemory } from '../../frames/domain-memory.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { CALL_AGAIN, type WorkMeter } from '../../time/work-meter.ts'

/** What it works on. */
export interface SoftResetParts {
  readonly memory: GuestMemory
  readonly events: EventChannels
  readonly domainMemory: DomainMemory
  readonly pageTypes: FrameTypes
  readonly meter: WorkMeter
}

/** Work of one portion of closing a domain's event channels. */
const PORTION = 2_000_000

/** What comes before the domain goes on: 0; -EINVAL for a domain that has not shut down or is none of that kind, -ENOMEM, with nothing changed. */
export function softReset(parts: SoftResetParts, domain: Domain, facts: RefusalFacts = {}): number {
  const { events, meter } = parts
  if (domain.guest === undefined) return because(facts, { cause: 'kind' }, -ERRNO.EINVAL)
  if (!domain.isShutDown || domain.dying) return because(facts, { cause: 'running' }, -ERRNO.EINVAL)
  const left = leaveSharedInfo(parts, domain)
  if (left < 0) return left
  // On its own behalf: nobody has to have paused it.
  const close = (): number => meter.within(PORTION, () => events.reset(domain.id, domain.id, () => true))
  while (close() === CALL_AGAIN);
  for (const vcpu of domain.vcpus) forgetRecords(parts, vcpu)
  return 0
}

/** Puts a frame with the same contents where shared_info lies in the domain's map: 0, or -ENOMEM. */
function leaveSharedInfo({ memory, domainMemory }: SoftResetParts, domain: Domain): number {
  const { guest, sharedInfoFrame } = domain
  const gfn = guest?.physmap.placeOf(sharedInfoFrame) ?? -1
  if (gfn < 0) return 0
  const frame = domainMemory.allocate(domain)
  if (frame < 0) return -ERRNO.ENOMEM
  memory.bytes.copyWithin(frame * PAGE_SIZE, sharedInfoFrame * PAGE_SIZE, (sharedInfoFrame + 1) * PAGE_SIZE)
  memory.markWritten(frame)
  guest!.physmap.place(gfn, frame)
  return 0
}

/** A vCPU's records are no longer where the kernel before had them. */
function forgetRecords({ pageTypes }: SoftResetParts, vcpu: Vcpu): void {
  vcpu.runstateArea = undefined
  vcpu.timeArea = undefined
  if (vcpu.infoFrame < 0) return
  pageTypes.putPageAndType(vcpu.infoFrame)
  vcpu.infoFrame = -1
  vcpu.infoAddress = vcpu.owner.defaultVcpuInfo(vcpu.vcpu)
}
