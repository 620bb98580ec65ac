/**
 * xen_version: what the hypervisor says it is. An unprivileged domain is not told how it was built.
 * Reference: public/version.h; xen/common/kernel.c, do_xen_version.
 */
import {
  ERRNO, HYPERVISOR_VIRT_START, VMASST_TYPE, XENFEAT, XENVER, XEN_CAPABILITIES_INFO_LEN, XEN_CHANGESET_INFO_LEN,
  XEN_COMMANDLINE_LEN, XEN_EXTRAVERSION_LEN, XenCompileInfo, XenFeatureInfo,
} from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { Domain } from '../domains/domain.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { XEN_VERSION, XEN_VERSION_NUMBER } from '../xen-version.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'

const DENIED = '<denied>'

const text = (value: string, size: number): Uint8Array => {
  const bytes = new Uint8Array(size)
  bytes.set(new TextEncoder().encode(value).subarray(0, size - 1))
  return bytes
}

/** Feature bits that the domain sees. */
export function featuresOf(domain: Domain): number {
  const bits: number[] = [
    XENFEAT.memory_op_vnode_supported, XENFEAT.mmu_pt_update_preserve_ad, XENFEAT.highmem_assist,
    XENFEAT.gnttab_map_avail_bits, XENFEAT.direct_mapped,
  ]
  if (domain.hasAssist(VMASST_TYPE.pae_extended_cr3)) bits.push(XENFEAT.pae_pgdir_above_4gb)
  if (domain.privileged) bits.push(XENFEAT.dom0)
  return bits.reduce((word, bit) => word | (1 << bit), 0) >>> 0
}

function compileInfo(domain: Domain): Uint8Array {
  const bytes = new Uint8Array(XenCompileInfo.size)
  const view = new DataView(bytes.buffer)
  const encode = (value: string): Uint8Array => new TextEncoder().encode(domain.privileged ? value : DENIED)
  XenCompileInfo.encode(view, 0, {
    compiler: encode('paravirt'), compileBy: encode('paravirt'), compileDomain: encode('localhost'),
    compileDate: encode('reproducible'),
  })
  return bytes
}

/** Bytes that a command answers with, or undefined for commands that answer otherwise. */
function answer(command: number, domain: Domain, commandLine: string): Uint8Array | undefined {
  switch (command) {
    case XENVER.extraversion: return text(XEN_VERSION.extra, XEN_EXTRAVERSION_LEN)
    case XENVER.compile_info: return compileInfo(domain)
    case XENVER.capabilities: return text(XEN_VERSION.capabilities, XEN_CAPABILITIES_INFO_LEN)
    case XENVER.changeset: return text(domain.privileged ? 'unavailable' : DENIED, XEN_CHANGESET_INFO_LEN)
    case XENVER.guest_handle: return domain.handle
    case XENVER.commandline:
      return domain.privileged ? text(commandLine, XEN_COMMANDLINE_LEN) : text(DENIED, DENIED.length + 1)
    case XENVER.platform_parameters: {
      const bytes = new Uint8Array(8)
      new DataView(bytes.buffer).setBigInt64(0, BigInt(HYPERVISOR_VIRT_START), true)
      return bytes
    }
    default: return undefined
  }
}

/** Makes the handler of xen_version; `commandLine` is the hypervisor's own. */
export function xenVersion(commandLine: string): HypercallHandler {
  const scratch = new Scratch(XenFeatureInfo.size)
  return (caller, args) => {
    const command = args.u32(0)
    const address = args.address(1)
    if (command === XENVER.version) return XEN_VERSION_NUMBER
    if (command === XENVER.pagesize) return address === 0 ? PAGE_SIZE : -ERRNO.EINVAL
    if (command === XENVER.build_id) return caller.owner.privileged ? -ERRNO.ENODATA : -ERRNO.EPERM
    if (command === XENVER.get_features) {
      if (!readInto(caller.access, address, scratch, XenFeatureInfo.size)) return -ERRNO.EFAULT
      if (XenFeatureInfo.submapIdx.get(scratch.view, 0) !== 0) return -ERRNO.EINVAL
      XenFeatureInfo.submap.set(scratch.view, 0, featuresOf(caller.owner))
      return caller.access.write(address, scratch.bytes) ? 0 : -ERRNO.EFAULT
    }
    const bytes = answer(command, caller.owner, commandLine)
    if (bytes === undefined) return -ERRNO.ENOSYS
    return caller.access.write(address, bytes) ? 0 : -ERRNO.EFAULT
  }
}
