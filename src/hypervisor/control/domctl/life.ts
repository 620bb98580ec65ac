/**
 * Operations of domctl on the life of domains: making and ending them, pausing, what they are called and how wide their kernels are.
 * Reference: xen/common/domctl.c; xen/common/domain.c, domain_create, sanitise_domain_config; xen/arch/x86/domain.c,
 * arch_sanitise_domain_config, switch_compat; xen/common/grant_table.c, grant_table_init.
 */
import {
  DOMCTL_CDF, DOMID, Domctl, DomctlAddressSize, DomctlCreatedomain, DomctlMaxVcpus, DomctlSetdebugging, DomctlSetdomainhandle,
  DomctlSettimeoffset, ERRNO, NATIVE, X86_EMU,
} from '../../../abi/index.ts'
import type { DomId } from '../../../util/index.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { answering, silent } from '../binary/control-call.ts'
import { DOMCTL_ARGUMENT, type DomctlCall, type DomctlParts, asZero, ofOthers } from './domctl-call.ts'

const KNOWN_FLAGS = /* @__PURE__ */ Object.values(DOMCTL_CDF).reduce((all: number, flag) => all | flag, 0)
const GRANT_VERSION = 0xf
/** Most vCPUs of a translated domain (HVM_MAX_VCPUS). */
const MOST_VCPUS = 128
/** Most grant frames and maptrack frames that a domain may ask for: what it has by default. */
const [MOST_GRANT_FRAMES, MOST_MAPTRACK_FRAMES] = [64, 1024] as const
/** Ports that the event channels of a domain have at least room for. */
const MOST_PORT = 0x1_ffff

/** What createdomain is asked for, as far as it can be had: 0, -EINVAL, -EOPNOTSUPP. */
function checkWishes({ view }: DomctlCall): number {
  const wish = (field: { get(view: DataView, base: number): number }): number => field.get(view, DOMCTL_ARGUMENT)
  const op = DomctlCreatedomain
  const flags = wish(op.flags)
  const isTranslated = (flags & DOMCTL_CDF.hvm) !== 0
  const refusedFlags = DOMCTL_CDF.s3_integrity | DOMCTL_CDF.iommu | DOMCTL_CDF.nested_virt | DOMCTL_CDF.vpmu
  const version = wish(op.grantOpts) & GRANT_VERSION
  const isRefused = (flags & ~KNOWN_FLAGS) !== 0 || (flags & refusedFlags) !== 0 || (isTranslated !== ((flags & DOMCTL_CDF.hap) !== 0))
    || (wish(op.grantOpts) & ~GRANT_VERSION) !== 0 || version < 1 || version > 2 || wish(op.iommuOpts) !== 0 || wish(op.vmtraceSize) !== 0
    || wish(op.miscFlags) >>> 1 !== 0 || wish(op.maxVcpus) < 1 || wish(op.maxVcpus) > MOST_VCPUS
    || wish(op.maxGrantFrames) === 0 || wish(op.maxGrantFrames) > MOST_GRANT_FRAMES || wish(op.maxMaptrackFrames) > MOST_MAPTRACK_FRAMES
  if (isRefused) return -ERRNO.EINVAL
  const emulation = wish(op.emulationFlags)
  const isKnown = isTranslated ? emulation === X86_EMU.LAPIC : emulation === 0 || emulation === X86_EMU.PIT
  return isKnown ? 0 : -ERRNO.EOPNOTSUPP
}

/** createdomain: the number that the structure names, or the next free one. */
function createDomain({ lifecycle, cpuPools, domains }: DomctlParts, call: DomctlCall): number {
  const { view } = call
  const op = DomctlCreatedomain
  const wanted = Domctl.domain.get(view, 0)
  const isWanted = wanted > 0 && wanted < DOMID.FIRST_RESERVED
  if (isWanted && domains.get(wanted) !== undefined) return -ERRNO.EEXIST
  const result = checkWishes(call)
  if (result < 0) return result
  const flags = op.flags.get(view, DOMCTL_ARGUMENT)
  const translated = (flags & DOMCTL_CDF.hvm) !== 0
  const kind = lifecycle.kindOf({ translated, width: NATIVE.width })
  const pool = cpuPools.find(op.cpupoolId.get(view, DOMCTL_ARGUMENT))
  if (kind === undefined) return -ERRNO.EINVAL
  if (pool === undefined) return -ERRNO.ESRCH
  const limit = (field: { get(view: DataView, base: number): number }): number | undefined => {
    const value = field.get(view, DOMCTL_ARGUMENT)
    return value < 0 ? undefined : value
  }
  const id = lifecycle.create({
    kind: kind.name, ...(isWanted ? { domid: wanted as DomId } : {}), vcpus: op.maxVcpus.get(view, DOMCTL_ARGUMENT), withoutVcpus: true,
    handle: op.handle.get(view, DOMCTL_ARGUMENT).slice(), isXenstore: (flags & DOMCTL_CDF.xs_domain) !== 0,
    maxPorts: Math.min(op.maxEvtchnPort.get(view, DOMCTL_ARGUMENT), MOST_PORT) + 1,
    grantVersion: (op.grantOpts.get(view, DOMCTL_ARGUMENT) & GRANT_VERSION) === 1 ? 1 : 2,
    ...given('maxGrantFrames', limit(op.maxGrantFrames)), ...given('maxMaptrackFrames', limit(op.maxMaptrackFrames)),
  })
  if (id < 0) return id
  if (pool.id !== 0) cpuPools.move(domains.get(id)!, pool)
  Domctl.domain.set(view, 0, id)
  if (!translated) op.flags.set(view, DOMCTL_ARGUMENT, flags | DOMCTL_CDF.oos_off)
  return 0
}

/** A property that is there only where it has a value. */
const given = <K extends string>(name: K, value: number | undefined): { readonly [Name in K]?: number } =>
  // One property or none.
  (value === undefined ? {} : { [name]: value }) as { readonly [Name in K]?: number }

/** max_vcpus: as many as createdomain was told. */
const makeVcpus = (call: DomctlCall): number => {
  if (DomctlMaxVcpus.max.get(call.view, DOMCTL_ARGUMENT) !== call.domain.vcpuCount) return -ERRNO.EINVAL
  call.domain.tools.hasVcpus = true
  return 0
}

/** The operations, by the names of their numbers. */
export function lifeOperations(parts: DomctlParts) {
  const { activity, lifecycle } = parts
  return {
    createdomain: answering((call: DomctlCall) => createDomain(parts, call), partial('a domain with devices of HVM guests is refused: EOPNOTSUPP')),
    destroydomain: silent(({ domain, isOwn }: DomctlCall) => (isOwn ? -ERRNO.EINVAL : lifecycle.dismantle(domain))),
    pausedomain: silent(ofOthers(({ domain }) => activity.pause(domain))),
    unpausedomain: silent(({ domain }: DomctlCall) => activity.unpause(domain)),
    resumedomain: silent(ofOthers(({ domain }) => asZero(activity.resume(domain)))),
    soft_reset: silent(ofOthers(({ domain }) => {
      const result = lifecycle.softReset(domain)
      return result < 0 ? result : asZero(activity.resume(domain))
    }), partial('of a translated domain; one that is none is refused, and not crashed')),
    max_vcpus: silent(ofOthers(makeVcpus)),
    setdomainhandle: silent(({ domain, view }: DomctlCall) => {
      domain.handle.set(DomctlSetdomainhandle.handle.get(view, DOMCTL_ARGUMENT))
      return 0
    }),
    setdebugging: silent(ofOthers(({ domain, view }) => {
      domain.tools.isDebugged = DomctlSetdebugging.enable.get(view, DOMCTL_ARGUMENT) !== 0
      return 0
    }), partial('it is told, and no exception pauses the domain')),
    settimeoffset: silent(({ domain, view }: DomctlCall) =>
      lifecycle.setTimeOffset(domain, Number(BigInt.asIntN(64, DomctlSettimeoffset.timeOffsetSeconds.get(view, DOMCTL_ARGUMENT))))),
    set_address_size: silent(({ domain, view }: DomctlCall) => {
      const bits = DomctlAddressSize.bits.get(view, DOMCTL_ARGUMENT)
      if (domain.guest !== undefined) return -ERRNO.EOPNOTSUPP
      return bits === 32 || bits === 64 ? lifecycle.setWidth(domain, bits) : -ERRNO.EINVAL
    }),
    get_address_size: answering(({ domain, view }: DomctlCall) => {
      if (domain.guest !== undefined) return -ERRNO.EOPNOTSUPP
      DomctlAddressSize.bits.set(view, DOMCTL_ARGUMENT, (domain.kind.abi ?? NATIVE).width)
      return 0
    }),
  }
}
