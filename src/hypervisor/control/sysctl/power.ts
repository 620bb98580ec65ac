/**
 * Operations of sysctl on power and what else of a machine this host does not have, as Xen answers them there; and those that
 * Debian's Xen is built without.
 * Reference: xen/drivers/acpi/pmstat.c; xen/arch/x86/sysctl.c, xen/common/sysctl.c.
 */
import { CPU_HOTPLUG, ERRNO, PM_OP, SysctlCpuHotplug, SysctlGetPmstat, SysctlPmOp } from '../../../abi/index.ts'
import { partial, refused } from '../../domains/hypercall-rows.ts'
import { answering, refusing, silent } from '../binary/control-call.ts'
import { SYSCTL_ARGUMENT, type SysctlCall, type SysctlParts } from './sysctl-call.ts'

/** Deepest state of a CPU that idles, and of its parts: no limit. */
const [DEEPEST, UNLIMITED] = [1, 0xffff_ffff] as const

/** cpu_hotplug: all CPUs are there, and stay. */
function hotplug({ scheduler }: SysctlParts, { view }: SysctlCall): number {
  const cpu = SysctlCpuHotplug.cpu.get(view, SYSCTL_ARGUMENT)
  switch (SysctlCpuHotplug.op.get(view, SYSCTL_ARGUMENT)) {
    case CPU_HOTPLUG.ONLINE: return cpu < scheduler.cpuCount ? -ERRNO.EEXIST : -ERRNO.EINVAL
    case CPU_HOTPLUG.OFFLINE: return cpu > 0 && cpu < scheduler.cpuCount ? -ERRNO.EBUSY : -ERRNO.EINVAL
    default: return -ERRNO.EOPNOTSUPP
  }
}

function powerOperation({ scheduler }: SysctlParts, { view }: SysctlCall): number {
  const cpu = SysctlPmOp.cpuid.get(view, SYSCTL_ARGUMENT)
  const command = SysctlPmOp.cmd.get(view, SYSCTL_ARGUMENT)
  if (command === PM_OP.set_sched_opt_smt) return cpu === 0 ? 0 : -ERRNO.EINVAL
  if (command === PM_OP.get_max_cstate || command === PM_OP.set_max_cstate) {
    if (cpu > 1) return -ERRNO.EINVAL
    if (command === PM_OP.get_max_cstate) SysctlPmOp.maxCstate.set(view, SYSCTL_ARGUMENT, cpu === 0 ? DEEPEST : UNLIMITED)
    return 0
  }
  return cpu < scheduler.cpuCount ? -ERRNO.ENODEV : -ERRNO.EINVAL
}

/** The operations, by the names of their numbers. */
export function powerOperations(parts: SysctlParts) {
  const notBuilt = refusing<SysctlCall>(refused('EPERM', 'not built in, as in Debian\'s Xen', 'ENOSYS'))
  const noShares = refusing<SysctlCall>(refused('EPERM', 'processors have no shares of caches', 'ENODEV'))
  return {
    cpu_hotplug: silent((call: SysctlCall) => hotplug(parts, call), partial('CPUs stay: EBUSY for one that is to go')),
    pm_op: answering((call: SysctlCall) => powerOperation(parts, call), partial('CPUs have one frequency: ENODEV for what is about others')),
    get_pmstat: silent(({ view }: SysctlCall) => (SysctlGetPmstat.cpuid.get(view, SYSCTL_ARGUMENT) < parts.scheduler.cpuCount ? -ERRNO.ENODEV : -ERRNO.EINVAL), partial('ENODEV, as before dom0 has told of states of CPUs')),
    perfc_op: notBuilt, lockprof_op: notBuilt,
    coverage_op: refusing<SysctlCall>(refused('EPERM', 'not built in, as in Debian\'s Xen', 'EOPNOTSUPP')),
    livepatch_op: refusing<SysctlCall>(refused('EPERM', 'there is no machine code to patch', 'EOPNOTSUPP')),
    psr_cmt_op: noShares, psr_alloc: noShares,
  }
}
