/**
 * The page of a local APIC's registers as plain bytes, in the layout that a saved domain has them in (LAPIC_REGS): 32 bits
 * each at multiples of 16. What a write means is in local-apic.ts.
 * Reference: Intel SDM volume 3, table 10-1; xen/arch/x86/include/asm/apicdef.h.
 */

/** Offsets of the registers. */
export const APIC = {
  ID: 0x20, LVR: 0x30, TPR: 0x80, PPR: 0xa0, EOI: 0xb0, LDR: 0xd0, DFR: 0xe0, SPIV: 0xf0, ISR: 0x100, TMR: 0x180, IRR: 0x200,
  ESR: 0x280, CMCI: 0x2f0, ICR: 0x300, ICR2: 0x310, LVTT: 0x320, LVTTHMR: 0x330, LVTPC: 0x340, LVT0: 0x350, LVT1: 0x360,
  LVTERR: 0x370, TMICT: 0x380, TMCCT: 0x390, TDCR: 0x3e0, SELF_IPI: 0x3f0,
} as const

/** Bytes that a saved domain has of the page. */
export const APIC_BYTES = 1024

/** Bits of the interrupt command register and of the local vector table. */
export const ICR = {
  VECTOR: 0xff, MODE: 0x700, LOGICAL: 0x800, PENDING: 0x1000, ASSERT: 0x4000, LEVEL: 0x8000, SHORTHAND: 0xc_0000, MASKED: 0x1_0000,
} as const
/** How an interrupt is delivered, in those bits. */
export const DELIVERY = { FIXED: 0, LOWEST: 0x100, SMI: 0x200, REMOTE_READ: 0x300, NMI: 0x400, INIT: 0x500, STARTUP: 0x600 } as const
/** Whom an interrupt is for, without a destination. */
export const SHORTHAND = { NONE: 0, SELF: 0x4_0000, ALL: 0x8_0000, OTHERS: 0xc_0000 } as const

/** Registers of one local APIC. */
export class ApicRegisters {
  readonly bytes = new Uint8Array(APIC_BYTES)
  private readonly view = new DataView(this.bytes.buffer)

  get(offset: number): number {
    return this.view.getUint32(offset, true)
  }

  set(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true)
  }

  /** True for a vector that stands in ISR, TMR or IRR. */
  has(bitmap: number, vector: number): boolean {
    return ((this.get(bitmap + (vector >> 5) * 16) >>> (vector & 31)) & 1) === 1
  }

  /** Enters a vector. */
  add(bitmap: number, vector: number): void {
    const word = bitmap + (vector >> 5) * 16
    this.set(word, this.get(word) | (1 << (vector & 31)))
  }

  /** Takes a vector out. */
  remove(bitmap: number, vector: number): void {
    const word = bitmap + (vector >> 5) * 16
    this.set(word, this.get(word) & ~(1 << (vector & 31)))
  }

  /** Highest vector; -1 when there is none. */
  highest(bitmap: number): number {
    for (let word = 7; word >= 0; word -= 1) {
      const bits = this.get(bitmap + word * 16)
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits)
    }
    return -1
  }
}
