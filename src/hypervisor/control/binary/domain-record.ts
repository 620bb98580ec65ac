/**
 * What tools are told of a domain: the record of getdomaininfo and getdomaininfolist.
 * Reference: xen/common/domctl.c, getdomaininfo; xen/arch/x86/domctl.c, arch_get_domain_info.
 */
import { DOMINF, DomctlGetdomaininfo, X86_EMU } from '../../../abi/index.ts'
import type { Domain } from '../../domains/domain.ts'

/** What the record is read from. */
export interface DomainRecordParts {
  readonly clock: { now(): number }
  readonly scheduler: { poolOf(domid: Domain['id']): { readonly id: number } | undefined }
  readonly lifecycle: { isDead(domain: Domain): boolean }
}

/** XEN_INVALID_MAX_VCPU_ID, and CPUPOOLID_NONE. */
const NONE = 0xffff_ffff
/** Bits of the addresses that a translated domain may use (hap_paddr_bits). */
const ADDRESS_BITS = 40

/** State of a domain as flags: what it does, and why it has shut down. */
function flagsOf(domain: Domain, isDead: boolean): number {
  const online = domain.tools.hasVcpus ? domain.vcpus.filter((vcpu) => vcpu.online) : []
  const code = domain.isShutDown ? domain.shutdownReason : domain.shutdownCode
  const isBlocked = online.length > 0 && online.every(({ blocked }) => blocked)
  const flags: readonly [boolean, number][] = [
    [isDead, DOMINF.dying], [domain.guest !== undefined, DOMINF.hvm_guest | DOMINF.hap], [domain.isShutDown, DOMINF.shutdown],
    [domain.pauseCount > 0, DOMINF.paused], [isBlocked, DOMINF.blocked], [online.some(({ runningOn }) => runningOn >= 0), DOMINF.running],
    [domain.tools.isDebugged, DOMINF.debugged], [domain.tools.isXenstore, DOMINF.xs_domain],
  ]
  return (flags.reduce((all, [isSet, flag]) => all | (isSet ? flag : 0), 0) | (code << DOMINF.shutdownshift)) >>> 0
}

/** Writes a domain's record at `base`. */
export function writeDomainRecord({ clock, scheduler, lifecycle }: DomainRecordParts, domain: Domain, { view, base }: { readonly view: DataView; readonly base: number }): void {
  const record = DomctlGetdomaininfo
  const now = clock.now()
  const { vcpus, tools } = domain
  new Uint8Array(view.buffer, view.byteOffset + base, record.size).fill(0)
  record.domain.set(view, base, domain.id)
  record.flags.set(view, base, flagsOf(domain, lifecycle.isDead(domain)))
  record.totPages.setNumber(view, base, domain.totalPages)
  record.maxPages.setNumber(view, base, domain.maxPages)
  record.outstandingPages.setNumber(view, base, domain.outstandingPages)
  record.sharedInfoFrame.setNumber(view, base, domain.sharedInfoFrame)
  record.cpuTime.setNumber(view, base, Math.floor(vcpus.reduce((sum, vcpu) => sum + vcpu.runstate.cpuTime(now), 0)))
  record.nrOnlineVcpus.set(view, base, vcpus.filter(({ online }) => online).length)
  record.maxVcpuId.set(view, base, tools.hasVcpus ? vcpus.length - 1 : NONE)
  record.handle.set(view, base, domain.handle)
  record.cpupool.set(view, base, scheduler.poolOf(domain.id)?.id ?? NONE)
  record.gpaddrBits.set(view, base, ADDRESS_BITS)
  record.emulationFlags.set(view, base, domain.guest === undefined ? 0 : X86_EMU.LAPIC)
}
