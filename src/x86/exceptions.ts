/** Exception vectors and page-fault error codes. Reference: Intel SDM volume 3, chapter 6. */

/** Exception vectors by mnemonic. */
export const VECTOR = {
  DE: 0, DB: 1, NMI: 2, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14,
  MF: 16, AC: 17, MC: 18, XM: 19,
} as const
/** A vector that has a mnemonic. */
export type Vector = (typeof VECTOR)[keyof typeof VECTOR]

/** True for the vectors that push an error code: DF, TS, NP, SS, GP, PF, AC. */
export const hasErrorCode = (vector: number): boolean => vector < 32 && ((0x0002_7d00 >>> vector) & 1) === 1

/** Bits of a page fault's error code. */
export const PAGE_FAULT = { PRESENT: 1, WRITE: 2, USER: 4, RESERVED: 8, FETCH: 16 } as const
