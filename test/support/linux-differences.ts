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
