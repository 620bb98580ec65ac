/**
 * Which Xen the hypervisor says it is: told by xen_version, by CPUID, in crash reports, core dumps and saved domains.
 */

/** Version that guests see, 4.17, and the kinds of guests that it says it can run. */
export const XEN_VERSION = { major: 4, minor: 17, extra: '.7', capabilities: 'xen-3.0-x86_64 xen-3.0-x86_32p ' } as const

/** The version in one number, as xen_version and CPUID tell it: major in the high half, minor in the low. */
export const XEN_VERSION_NUMBER = XEN_VERSION.major * 0x10000 + XEN_VERSION.minor
