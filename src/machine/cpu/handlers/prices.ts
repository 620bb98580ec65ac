/**
 * What instructions cost that TypeScript carries out, where budgets count work (`accounting: 'work'`): as many plain
 * instructions as take about as long, on top of the one that they are. The price of an instruction never depends on
 * anything but the instruction and its operands, so that virtual time is the same whatever lies in caches and wherever a
 * run is cut. Measured by `npm run bench -- fairness`, at 2 ns for a plain instruction.
 */

/** Prices in instructions by what a handler does; each stands in the rows of its handlers. */
export const PRICE = {
  /** Entering and leaving a handler, and what most of them do. */
  usual: 20,
  division: 120,
  /** What a few dozen steps in TypeScript take: segments, CPUID, vectors of bytes. */
  shortWork: 100,
  farTransfer: 300,
  /** Moving the x87's stack: registers are unpacked and packed again. */
  x87Move: 60,
  x87Arithmetic: 150,
  /** Square roots, decimal numbers, environments. */
  x87Long: 300,
  x87Remainder: 600,
  /** Worked out in whole numbers of a thousand bits and more. */
  x87Transcendental: 3000,
  x87Image: 1000,
  /** FXSAVE and FXRSTOR. */
  floatImage: 1600,
  /** XSAVE and XRSTOR. */
  extendedImage: 2400,
  /** Operations in software, where the processor underneath does not round or flag as x86 does. */
  scalarFloat: 100,
  packedFloat: 300,
  /** Fused multiplications: mostly by doubles, else in whole numbers of some hundred bits. */
  fused: 1200,
  /** Scalar products, comparisons of strings. */
  longVector: 600,
} as const

/** What each level of ENTER costs: a checked load and a checked store. */
export const ENTER_LEVEL = 400

/**
 * What decoding costs for each line of 64 bytes from which code is taken for the first time since it was written. Which were
 * paid for is saved with the memory, so that neither a save nor a load shows in a guest's time. When the
 * cache of decoded code is full (48 MiB: some three million instructions of all guests together), everything is fresh
 * again: the one place where what others execute shows in a guest's time, as nothing else bounds what a guest with more
 * code than that costs. Where runs are cut does not show: a block that is begun in the midst of another ends where that one
 * does (BLOCK_WINDOW).
 */
export const CODE_LINE = 3000
