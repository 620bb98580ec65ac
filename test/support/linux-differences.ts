/**
 * What Linux says on real Xen and not here, or here and not there. docs/differences-from-xen.md gives the reasons; a line
 * that none of these matches fails a test.
 */

/** Lines of the captures that we have not: their processor has no XSAVEC. */
export const NOT_HERE = [
  /^x86\/fpu: Enabled xstate features .* using 'standard' format/,
]

/** Lines that only we have: XSAVEC; and memory that may grow beyond what the domain starts with. */
export const ONLY_HERE = [
  /^x86\/fpu: Enabled xstate features .* using 'compacted' format/,
  /zone DMA32: \d+ pages in unavailable ranges/,
]

/** Lines that the kernel of the captures (6.1.176) and its later releases spell differently. */
export const NEWER_KERNEL = [
  /^cblist_init_generic: Setting shift/,
  /^node 0 deferred pages initialised/,
]

/**
 * The same of PVH guests. The capture's processor has protection keys, UMIP and pages of a gigabyte, and is emulated by one
 * that leaves CR0.TS set.
 */
export const NOT_HERE_PVH = [
  ...NOT_HERE, /^Using GB pages/, /User Mode Instruction Prevention/, /XSAVE feature 0x200/, /^x86\/fpu: xstate_offset\[9\]/,
  /1\.00 GiB page/, /^smpboot: CPU0: AMD QEMU/, /^smpboot: Total of/, /^memmap_init_zone_device initialised/,
  // Two warnings about CR0.TS, from their first to their last line.
  /cut here/, /^CR0\.TS was set/, /exc_device_not_available/, /^Modules linked in:/, /^CPU: \d+ PID:/, /^RIP: /, /^Code: /, /^R[A-Z0-9]+: /,
  /^[FC]S: /, /^CR2: /, /^PKRU: /, /^Call Trace:/, /^ <\/?TASK>/, /^ (\? )?[a-z_]+\+0x/, /end trace/,
]

/** Lines that only we have, and those that the capture's kernel, which is some releases older, does not print. */
export const ONLY_HERE_PVH = [
  ...ONLY_HERE, /^smpboot: CPU0: AMD paravirt/, /^smpboot: Total of/, /^acpi LNXCPU:[0-9a-f]+: Still not present/, /^AppArmor/, /^Key type/,
  /^integrity: /, /^Loaded X\.509 cert/, /^zswap: /, /^ima: /, /^evm: /, /^Asymmetric key parser/,
]
