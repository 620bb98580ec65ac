/**
 * xen_version: what the hypervisor says it is. An unprivileged domain is not told how it was built.
 * Reference: public/version.h; xen/common/kernel.c, do_xen_version.
 */
import {
  ERRNO, type GuestAbi, VMASST_TYPE, XENFEAT, XENVER, XEN_CAPABILITIES_INFO_LEN, XEN_CHANGESET_INFO_LEN,
  XEN_COMMANDLINE_LEN, XEN_EXTRAVERSION_LEN, XenCompileInfo, XenFeatureInfo,
  XenPlatformParameters,
} from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { Domain } from '../domains/domain.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { BUILD, XEN_VERSION, XEN_VERSION_NUMBER } from '../identity.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed, refuse, refused } from '../domains/hypercall-rows.ts'

const DENIED = '<denied>'

const text = (value: string, size: number): Uint8Array => {
  const bytes = new Uint8Array(size)
  bytes.set(new TextEncoder().encode(value).subarray(0, size - 1))
  return bytes
}

const bitsOf = (bits: readonly number[]): number => bits.reduce((word, bit) => word | (1 << bit), 0) >>> 0

/** What a translated domain sees. */
const TRANSLATED: readonly number[] = [
  XENFEAT.writable_page_tables, XENFEAT.auto_translated_physmap, XENFEAT.hvm_callback_vector, XENFEAT.hvm_safe_pvclock,
  XENFEAT.memory_op_vnode_supported, XENFEAT.not_direct_mapped,
]

/** Feature bits that the domain sees. */
export function featuresOf(domain: Domain): number {
  const bits: number[] = [
    XENFEAT.memory_op_vnode_supported, XENFEAT.mmu_pt_update_preserve_ad, XENFEAT.highmem_assist,
    XENFEAT.gnttab_map_avail_bits, XENFEAT.direct_mapped,
  ]
  if (domain.guest !== undefined) return bitsOf(TRANSLATED)
  if (domain.hasAssist(VMASST_TYPE.pae_extended_cr3)) bits.push(XENFEAT.pae_pgdir_above_4gb)
  if (domain.privileged) bits.push(XENFEAT.dom0)
  return bitsOf(bits)
}

function compileInfo(domain: Domain): Uint8Array {
  const bytes = new Uint8Array(XenCompileInfo.size)
  const view = new DataView(bytes.buffer)
  const encode = (value: string): Uint8Array => new TextEncoder().encode(domain.privileged ? value : DENIED)
  XenCompileInfo.encode(view, 0, {
    compiler: encode(BUILD.compiler), compileBy: encode(BUILD.compileBy), compileDomain: encode(BUILD.compileDomain),
    compileDate: encode(BUILD.compileDate),
  })
  return bytes
}

/** Where the hypervisor begins in the address space of a guest of that ABI. */
function platformParameters(abi: GuestAbi): Uint8Array {
  const layout = abi.of(XenPlatformParameters)
  const bytes = new Uint8Array(layout.size)
  layout.virtStart.set(new DataView(bytes.buffer), 0, BigInt.asUintN(64, BigInt(abi.hypervisorStart)))
  return bytes
}

/** An operation that answers with bytes. */
const telling = (answer: (domain: Domain) => Uint8Array, support: Support = FULL): Operation => ({
  support,
  run: (caller, args) => (caller.access.write(args.address(1), answer(caller.owner)) ? 0 : -ERRNO.EFAULT),
})

/** The operations, by the names of their numbers; `commandLine` is the hypervisor's own. */
function operations(commandLine: string, abi: GuestAbi): Operations<typeof XENVER, Operation> {
  const scratch = new Scratch(XenFeatureInfo.size)
  return {
    version: { support: FULL, run: () => XEN_VERSION_NUMBER },
    extraversion: telling(() => text(XEN_VERSION.extra, XEN_EXTRAVERSION_LEN)),
    compile_info: telling(compileInfo),
    capabilities: telling(() => text(XEN_VERSION.capabilities, XEN_CAPABILITIES_INFO_LEN)),
    changeset: telling(({ privileged }) => text(privileged ? BUILD.changeset : DENIED, XEN_CHANGESET_INFO_LEN)),
    platform_parameters: telling(() => platformParameters(abi)),
    get_features: {
      support: FULL,
      run: (caller, args) => {
        const address = args.address(1)
        if (!readInto(caller.access, address, scratch, XenFeatureInfo.size)) return -ERRNO.EFAULT
        if (XenFeatureInfo.submapIdx.get(scratch.view, 0) !== 0) return -ERRNO.EINVAL
        XenFeatureInfo.submap.set(scratch.view, 0, featuresOf(caller.owner))
        return caller.access.write(address, scratch.bytes) ? 0 : -ERRNO.EFAULT
      },
    },
    pagesize: { support: FULL, run: (_caller, args) => (args.address(1) === 0 ? PAGE_SIZE : -ERRNO.EINVAL) },
    guest_handle: telling(({ handle }) => handle),
    commandline: telling(({ privileged }) =>
      (privileged ? text(commandLine, XEN_COMMANDLINE_LEN) : text(DENIED, DENIED.length + 1))),
    build_id: refuse(refused('EPERM', 'nothing here is linked with a build identifier', 'ENODATA')),
  }
}

/** Makes the row of xen_version for callers of one ABI; `commandLine` is the hypervisor's own. */
export function xenVersion(commandLine: string, abi: GuestAbi): HypercallRow {
  const rows = operations(commandLine, abi)
  return {
    name: 'xen_version', handler: byFirstArgument(XENVER, rows), source: 'public/version.h; do_xen_version',
    operations: [listed('XENVER_', XENVER, rows)],
  }
}
