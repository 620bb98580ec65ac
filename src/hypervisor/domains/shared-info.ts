/**
 * What the hypervisor writes into a domain's shared_info without being asked: the wall clock, and that no vCPU takes events
 * yet; and what a guest that can be in modes of both widths does to its layout.
 * Reference: xen/arch/x86/time.c, update_domain_wallclock_time; xen/arch/x86/hvm/hvm.c, hvm_latch_shinfo_size.
 */
import { type GuestAbi, VcpuInfo } from '../../abi/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { TimeRecords, WallClock } from '../time/index.ts'
import type { Domain } from './domain.ts'

/** What shared_info is filled with. */
export interface SharedInfoParts {
  readonly memory: Pick<GuestMemory, 'view'>
  readonly timeRecords: TimeRecords
  readonly wallClock: Pick<WallClock, 'bootTime'>
}

/** Fills that of a new domain, whose vCPUs are there. */
export function fillSharedInfo({ memory, timeRecords, wallClock }: SharedInfoParts, domain: Domain): void {
  writeWallClock({ timeRecords, wallClock }, domain)
  for (const { infoAddress } of domain.vcpus) if (infoAddress >= 0) VcpuInfo.evtchnUpcallMask.set(memory.view, infoAddress, 1)
}

/**
 * From now on the domain's shared_info and the records of its vCPUs are laid out for the other width. Only the wall clock is
 * written anew: the guest does this before it uses the rest, or again after it was restored.
 */
export function latchAbi({ timeRecords, wallClock }: Omit<SharedInfoParts, 'memory'>, domain: Domain, abi: GuestAbi): void {
  if (domain.abi === abi) return
  domain.abi = abi
  writeWallClock({ timeRecords, wallClock }, domain)
}

/** Writes the domain's wall clock, which may be ahead of the host's or behind it. */
export function writeWallClock({ timeRecords, wallClock }: Omit<SharedInfoParts, 'memory'>, domain: Domain): void {
  timeRecords.updateWallClock(domain, { bootTime: wallClock.bootTime + BigInt(domain.timeOffset) * 1_000_000_000n })
}
