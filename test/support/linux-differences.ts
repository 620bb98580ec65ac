/**
 * What Linux says on real Xen and not here, or here and not there. docs/differences-from-xen.md gives the reasons; a line
 * that none of these matches fails a test.
 */

/** Lines of the captures that we have not: no XSAVE. */
export const NOT_HERE = [
  /^x86\/fpu: (Supporting XSAVE feature|xstate_offset|Enabled xstate features)/,
]

/** Lines that only we have: no XSAVE; and memory that may grow beyond what the domain starts with. */
export const ONLY_HERE = [
  /^x86\/fpu: x87 FPU will use FXSAVE/,
  /zone DMA32: \d+ pages in unavailable ranges/,
]

/** Lines that the kernel of the captures (6.1.176) and its later releases spell differently. */
export const NEWER_KERNEL = [
  /^cblist_init_generic: Setting shift/,
  /^node 0 deferred pages initialised/,
]
