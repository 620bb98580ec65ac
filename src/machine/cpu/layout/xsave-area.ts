/**
 * The area that XSAVE writes: an FXSAVE image, a header, then the upper halves of the vector registers. The compacted form
 * of XSAVEC has them at the same place, as they are the only part behind the header.
 *
 *   0              512                                 576             832
 *   | x87 and SSE  | XSTATE_BV, XCOMP_BV, six of 0     | AVX           |
 *
 * Reference: Intel SDM volume 1, section 13.4.
 */
import { XCR0 } from '../../../x86/index.ts'

/** Offsets and sizes in bytes. */
export const XSAVE = {
  header: 512, headerBytes: 64, avx: 576, avxBytes: 256, bytes: 832,
  /** MXCSR, its mask and the registers of SSE in the FXSAVE image. */
  mxcsr: 24, sse: 160, sseBytes: 256,
  /** In the header: which parts the area holds, and its form. */
  holds: 512, form: 520,
} as const

/** Upper half of XCOMP_BV of the compacted form: bit 63. */
export const COMPACTED_HIGH = 0x8000_0000

/** Bytes of an area for the parts that XCR0 names. */
export const xsaveBytes = (xcr0: number): number => ((xcr0 & XCR0.AVX) !== 0 ? XSAVE.bytes : XSAVE.avx)
