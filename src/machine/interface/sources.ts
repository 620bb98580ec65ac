/** What a processor asks whoever made it for: each is an interface with a few functions. */
import type { CpuidAnswer } from '../../x86/index.ts'

/** Where segment descriptors come from: a bare processor reads GDTR/LDTR, a hosted one asks its host. */
export interface DescriptorSource {
  /** Fills `out` with the descriptor's low and high half; false when the selector lies outside the table. */
  read(selector: number, out: Uint32Array): boolean
  /** True for selectors whose descriptors never change: what a processor has loaded by one of them need not be read again. */
  isConstant?(selector: number): boolean
}

/** Time-stamp counter as RDTSC reads it. */
export interface TimestampSource {
  /** Low half now; `executed`: instructions of the present run that are done, by which time has moved on. */
  low(executed: number): number
  /** Belongs to the value whose low half was read last. */
  high(): number
}

/** What CPUID answers on a bare processor, and so what its kernel may switch on. */
export interface CpuidSource {
  /** EAX, EBX, ECX, EDX of a leaf. */
  read(leaf: number, subleaf: number): CpuidAnswer
}

/** I/O ports of a processor with a kernel of its own: whatever devices its machine has. */
export interface PortSource {
  /** Value of `size` bytes (1, 2, 4); bits beyond them are ignored. */
  read(port: number, size: number): number
  /** Takes what the guest writes: `size` bytes, 1, 2 or 4. */
  write(port: number, size: number, value: number): void
}

/** What a host lets be done with a frame of a virtualised processor's memory. */
export const FRAME_RIGHT = { READ: 1, WRITE: 2, EXECUTE: 4 } as const

/** Where the physical memory of a virtualised processor lies: what Xen calls a p2m, hardware a nested page table. */
export interface PhysicalSource {
  /**
   * Machine frame times 4096, with the {@link FRAME_RIGHT} bits that hold; 0 where a guest-physical frame leads nowhere. The
   * processor remembers what was there until it is told to forget. Page tables need the right to write.
   */
  frame(gfn: number): number
}

/** An interrupt controller in front of a processor, as a local APIC is; asked between two instructions. */
export interface InterruptSource {
  /** Vector that the processor is to take now, by the controller's own priorities; -1 for none. */
  pending(): number
  /** The processor has taken that vector. */
  acknowledge(vector: number): void
}

/** A device's registers in physical memory. Values of 8 bytes are exact up to 53 bits. */
export interface MemoryDevice {
  /** Value of `size` bytes (1, 2, 4, 8); without an effect, as it is asked before a write too. */
  read(address: number, size: number): number
  /** Takes a value of `size` bytes (1, 2, 4, 8). */
  write(address: number, size: number, value: number): void
}
