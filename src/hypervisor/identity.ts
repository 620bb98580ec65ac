/**
 * Which Xen the hypervisor says it is: told by xen_version, by CPUID, in crash reports, core dumps and saved domains; and what it has every
 * vCPU of any kind see of its machine.
 */

/** Version that guests see, 4.17, and the kinds of guests that it says it can run. */
export const XEN_VERSION = {
  major: 4, minor: 17, extra: '.7',
  capabilities: 'xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ',
} as const

/** How it says that it was built. */
export const BUILD = {
  compiler: 'paravirt', compileBy: 'paravirt', compileDomain: 'localhost', compileDate: 'reproducible', changeset: 'unavailable',
} as const

/**
 * Banks of machine checks of a vCPU, in which nothing ever happens: MCG_CAP.
 * Reference: xen/arch/x86/cpu/mcheck/vmce.h, GUEST_MC_BANK_NUM.
 */
export const MACHINE_CHECK_BANKS = 2

/** The version in one number, as xen_version and CPUID tell it: major in the high half, minor in the low. */
export const XEN_VERSION_NUMBER = XEN_VERSION.major * 0x10000 + XEN_VERSION.minor
