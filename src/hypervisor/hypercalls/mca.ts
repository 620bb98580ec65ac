/**
 * mca, hypercall arch_0: what a privileged domain asks about machine checks. None ever happens here, so there are no reports.
 * Reference: public/arch-x86/xen-mca.h; xen/arch/x86/cpu/mcheck/mce.c, do_mca.
 */
import {
  ERRNO, type GuestAbi, MCA, McinfoLogicalCpu, XEN_MCA_INTERFACE_VERSION, XEN_MC_FLAGS, XenMc, XenMcFetch, XenMcPhyscpuinfo,
} from '../../abi/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { signedFromParts } from '../../util/index.ts'
import { FULL, type Operations, byNumber, listed, partial, refused } from '../domains/hypercall-rows.ts'

/** What mca works on. */
export interface McaParts {
  readonly scheduler: { readonly cpuCount: number }
}

/** An operation on the structure that has been copied; WRITE_BACK is 0 with the structure written back. */
interface McaOperation {
  readonly support: Support
  run(caller: Vcpu): number
}

/** The operation has filled in what the caller is to read. */
const WRITE_BACK = 1
/** Where the operation's own structure begins. */
const BODY = XenMc.pad.offset

/** Reports: there is never one. */
function fetch(layout: Pick<typeof XenMcFetch, 'flags' | 'fetchId' | 'data'>, view: DataView): number {
  const flags = layout.flags.get(view, BODY)
  const which = flags & (XEN_MC_FLAGS.NONURGENT | XEN_MC_FLAGS.URGENT)
  if (which !== XEN_MC_FLAGS.NONURGENT && which !== XEN_MC_FLAGS.URGENT) return -ERRNO.EINVAL
  if ((flags & XEN_MC_FLAGS.ACK) !== 0) {
    layout.flags.set(view, BODY, 0)
    return WRITE_BACK
  }
  if (layout.data.number(view, BODY) === 0) return -ERRNO.EINVAL
  layout.flags.set(view, BODY, XEN_MC_FLAGS.NODATA)
  layout.fetchId.set(view, BODY, 0n)
  return WRITE_BACK
}

/** The physical CPUs, of one socket. */
function physicalCpus(layout: Pick<typeof XenMcPhyscpuinfo, 'ncpus' | 'info'>, view: DataView, count: number): (caller: Vcpu) => number {
  const cpu = new Scratch(McinfoLogicalCpu.size)
  return (caller) => {
    const list = signedFromParts(layout.info.low(view, BODY), layout.info.high(view, BODY))
    const wanted = layout.ncpus.get(view, BODY)
    if (list === 0) {
      layout.ncpus.set(view, BODY, count)
      return WRITE_BACK
    }
    if (wanted === 0 || wanted > 0x7fff_ffff) return -ERRNO.EINVAL
    const told = Math.min(wanted, count)
    for (let index = 0; index < told; index += 1) {
      cpu.bytes.fill(0)
      for (const name of ['mcCpunr', 'mcCoreid', 'mcApicid'] as const) McinfoLogicalCpu[name].set(cpu.view, 0, index)
      McinfoLogicalCpu.mcNcores.set(cpu.view, 0, count)
      McinfoLogicalCpu.mcNcoresActive.set(cpu.view, 0, count)
      McinfoLogicalCpu.mcNthreads.set(cpu.view, 0, 1)
      if (!caller.access.write(list + index * McinfoLogicalCpu.size, cpu.bytes)) return -ERRNO.EFAULT
    }
    layout.ncpus.set(view, BODY, told)
    return WRITE_BACK
  }
}

/** Makes the row of mca(structure) for callers of one ABI. */
export function mca({ scheduler }: McaParts, abi: GuestAbi): HypercallRow {
  const scratch = new Scratch(XenMc.size)
  const { view, bytes } = scratch
  const layouts = { fetch: abi.of(XenMcFetch), cpus: abi.of(XenMcPhyscpuinfo) }
  const injection: McaOperation = { support: refused('EPERM', 'there are no banks to put something into', 'ENODEV'), run: () => -ERRNO.ENODEV }
  const rows: Operations<typeof MCA, McaOperation> = {
    fetch: { support: FULL, run: () => fetch(layouts.fetch, view) },
    notifydomain: { support: refused('EPERM', 'Xen does not know it either', 'EINVAL'), run: () => -ERRNO.EINVAL },
    physcpuinfo: { support: partial('make and registers of the CPUs are blank'), run: physicalCpus(layouts.cpus, view, scheduler.cpuCount) },
    msrinject: injection, mceinject: injection, inject_v2: injection,
  }
  const runs = byNumber(MCA, rows).map((row) => row?.run)
  const { size } = abi.of(XenMc)
  return {
    name: 'arch_0', source: 'public/arch-x86/xen-mca.h, __HYPERVISOR_mca; do_mca', operations: [listed('XEN_MC_', MCA, rows)],
    handler: (caller, args) => {
      if (!caller.owner.privileged) return -ERRNO.EPERM
      const address = args.address(0)
      if (!readInto(caller.access, address, scratch, size)) return -ERRNO.EFAULT
      if (XenMc.interfaceVersion.get(view, 0) !== XEN_MCA_INTERFACE_VERSION) return -ERRNO.EACCES
      const result = runs[XenMc.cmd.get(view, 0)]?.(caller) ?? -ERRNO.EINVAL
      if (result !== WRITE_BACK) return result
      return caller.access.write(address, size === bytes.length ? bytes : bytes.subarray(0, size)) ? 0 : -ERRNO.EFAULT
    },
  }
}
