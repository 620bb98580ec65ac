/** What a processor asks whoever made it for: each is an interface with a few functions. */
import type { CpuidAnswer } from '../../x86/index.ts'

/** Where segment descriptors come from: a bare processor reads GDTR/LDTR, a hosted one asks its host. */
export interface DescriptorSource {
  /** Fills `out` with the descriptor's low and high half; false when the selector lies outside the table. */
  read(selector: number, out: Uint32Array): boolean
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

/** I/O ports of a bare processor: whatever devices its machine has. */
export interface PortSource {
  /** Value of `size` bytes (1, 2, 4); bits beyond them are ignored. */
  read(port: number, size: number): number
  /** Takes what the guest writes: `size` bytes, 1, 2 or 4. */
  write(port: number, size: number, value: number): void
}
