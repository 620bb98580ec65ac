/**
 * A region: hot basic blocks around one entry, which become one WebAssembly function. Plain data, found in decoded code,
 * ordered for structured control flow, then written. Nothing here depends on who samples, installs or drops regions.
 */

/** One decoded instruction of a region. */
export interface RegionInstruction {
  /** Linear address; signed, as all linear addresses in TypeScript. */
  readonly rip: number
  /** Its bytes. */
  readonly length: number
  /** Host address of its first record, and behind its last one. */
  readonly first: number
  readonly end: number
}

/**
 * How a basic block ends: with the instruction before another block or before one that no region carries out; with a
 * conditional jump, a jump, a call or a return; at an address that it works out.
 */
export type BlockEnd = 'next' | 'conditional' | 'branch' | 'call' | 'return' | 'indirect'

/** A basic block: one way in, one way out. */
export interface RegionBlock {
  readonly rip: number
  readonly instructions: readonly RegionInstruction[]
  readonly end: BlockEnd
  /** Target of the jump or call, where there is one: perhaps outside of the region. */
  readonly target: number | undefined
  /** Address behind the last instruction. */
  readonly next: number
  /** It begins by asking for flags that whoever came before has set. */
  readonly needsFlags: boolean
  /** What follows is an instruction that no region carries out. */
  readonly stops?: boolean
  /** Where it has been seen to lead, if its end works that out: the most frequent first. */
  readonly leads?: readonly number[]
}

/** A page that a region's code lies in. */
export interface RegionPage {
  readonly linear: number
  readonly host: number
}

/** What becomes one function. */
export interface Region {
  readonly entry: number
  /** State.mode for which its records were decoded. */
  readonly mode: number
  /** Instructions of the decoded block at the entry: whoever enters the region has paid for them. */
  readonly entryCount: number
  /** The first one is that at the entry. */
  readonly blocks: readonly RegionBlock[]
  /** All instructions, and the bytes that they cover. */
  readonly instructions: number
  readonly bytes: number
  readonly pages: readonly RegionPage[]
  /** Accesses near to each other are looked up one by one, because ends of pages lie in between; else one look does for them. */
  readonly windows?: 'narrow'
}

/** Why there is no region at an address. */
export type Refusal =
  /** Not 64-bit code with flat segments. */
  | 'mode'
  /** Its page cannot be fetched, or nothing has been decoded there. */
  | 'not-decoded'
  /** No region carries out the first instruction. */
  | 'first-instruction'
  /** So few instructions, and no loop, that entering and leaving takes longer than interpreting them. */
  | 'small'
  /** The host does not compile. */
  | 'host'

/** Where code has been seen to lead out of regions. */
export interface Leads {
  /** Where a jump to an address that it works out led, by its own address: the most frequent first. */
  of(from: number): readonly number[]
  /** Whether anything led to an address. */
  isLed(to: number): boolean
}

/** Where decoded code is found. */
export interface CodeSource {
  /** State.mode of the code at hand. */
  readonly mode: number
  /** Host address that a linear address of code leads to, 0 when it cannot be fetched. */
  hostOf(linear: number): number
  /**
   * The block decoded for that host address and the mode, its records as they were decoded; 0 when there is none. Blocks
   * that go on into the next page do not count.
   */
  blockAt(host: number): number
}
