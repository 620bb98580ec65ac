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

/** Name and mnemonic of each exception, as manuals and debuggers write them. */
const NAMES: Readonly<Record<number, readonly [mnemonic: string, name: string]>> = {
  0: ['#DE', 'divide error'], 1: ['#DB', 'debug exception'], 2: ['NMI', 'non-maskable interrupt'], 3: ['#BP', 'breakpoint'],
  4: ['#OF', 'overflow'], 5: ['#BR', 'bound range exceeded'], 6: ['#UD', 'invalid opcode'], 7: ['#NM', 'device not available'],
  8: ['#DF', 'double fault'], 10: ['#TS', 'invalid TSS'], 11: ['#NP', 'segment not present'], 12: ['#SS', 'stack-segment fault'],
  13: ['#GP', 'general protection fault'], 14: ['#PF', 'page fault'], 16: ['#MF', 'x87 floating-point error'],
  17: ['#AC', 'alignment check'], 18: ['#MC', 'machine check'], 19: ['#XM', 'SIMD floating-point exception'],
}

/** `#PF`, `#UD`, ...; `INT 0x80` for a vector without a mnemonic. */
export const exceptionMnemonic = (vector: number): string => NAMES[vector]?.[0] ?? `INT 0x${vector.toString(16)}`

/** `page fault`, `invalid opcode`, ...; `interrupt 0x80` for a vector without a name. */
export const exceptionName = (vector: number): string => NAMES[vector]?.[1] ?? `interrupt 0x${vector.toString(16)}`

/** An exception as the processor raised it. */
export interface ExceptionFacts {
  readonly vector: number
  /** What was or would have been pushed; ignored for vectors without one. */
  readonly errorCode: number
  /** What a page fault leaves in CR2: a signed number. */
  readonly address: number
  /** True when user code raised it; for a page fault the error code tells unless this is given. */
  readonly fromUser?: boolean
}

/** A signed address in hexadecimal, as the processor has it. */
const hexAddress = (address: number): string =>
  `0x${BigInt.asUintN(64, BigInt(Number.isInteger(address) ? address : 0)).toString(16)}`

/** Which gate or descriptor a selector error code names. */
function selectorText(errorCode: number): string {
  const table = (errorCode & 2) !== 0 ? 'gate' : (errorCode & 4) !== 0 ? 'LDT selector' : 'GDT selector'
  const index = (errorCode & 2) !== 0 ? errorCode >>> 3 : errorCode & 0xfff8
  return `${table} 0x${(index & 0xffff).toString(16)}${(errorCode & 1) !== 0 ? ', external' : ''}`
}

/** Vectors whose error code, unless 0, is a selector. */
const SELECTOR_VECTORS: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP])

/** The exception in words: `page fault: read of 0x0 from user mode`. Reference: Intel SDM volume 3, 4.7 and 6.13. */
export function describeException({ vector, errorCode, address, fromUser }: ExceptionFacts): string {
  const name = exceptionName(vector)
  if (vector === VECTOR.PF) {
    const access = (errorCode & PAGE_FAULT.FETCH) !== 0 ? 'fetch' : (errorCode & PAGE_FAULT.WRITE) !== 0 ? 'write' : 'read'
    const user = fromUser ?? (errorCode & PAGE_FAULT.USER) !== 0
    const why = (errorCode & PAGE_FAULT.RESERVED) !== 0 ? ', reserved bits are set in a page-table entry'
      : (errorCode & PAGE_FAULT.PRESENT) !== 0 ? ', the page does not allow it' : ''
    const preposition = access === 'write' ? 'to' : access === 'fetch' ? 'at' : 'of'
    return `${name}: ${access} ${preposition} ${hexAddress(address)} from ${user ? 'user' : 'kernel'} mode${why}`
  }
  const mode = fromUser === undefined ? '' : ` in ${fromUser ? 'user' : 'kernel'} mode`
  const selector = SELECTOR_VECTORS.has(vector) && errorCode > 0 ? `: ${selectorText(errorCode)}` : ''
  return `${name}${mode}${selector}`
}
