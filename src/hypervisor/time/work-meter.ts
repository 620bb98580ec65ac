/**
 * What the hypervisor's own work costs a guest in virtual time. A hypercall is no single instruction: each piece of work
 * (a page, an entry, a port) has a price, and whoever asked for it pays when the exit is over. So the wall time of a
 * virtual instruction stays bounded whatever a guest asks for. The same meter tells long operations when to pause: a
 * portion that is spent ends the exit, and the guest makes its hypercall again with what is left (Xen's
 * `hypercall_preempt_check`, but by work and not by the wall, so that runs repeat).
 *
 * Only exits of binary guests are metered. Guests in TypeScript have prices of their own (guest/cost.ts), and what the
 * toolstack asks for goes on until it is done.
 * Reference: xen/include/xen/sched.h, hypercall_preempt_check.
 */

/** Prices in instructions: about 2 ns of wall time each, measured by `npm run bench -- fairness`, rounded up. */
export const WORK = /* @__PURE__ */ Object.freeze({
  /** One element of a list (a request, a grant, a multicall's entry): copied in, checked, answered. */
  element: 50,
  /** 4 KiB cleared or copied. */
  page: 150,
  /** Frames that a domain gets or gives back, beside their bytes: lists, stamps, the machine-to-physical table. */
  frame: 50,
  /** Looking through the 512 entries of a page table, or the 512 descriptors of a page. */
  table: 300,
  /** One present entry or descriptor in it: references taken or given back. */
  entry: 8,
  /** One grant mapped, unmapped or transferred: both tables, page tables, the frame. */
  grant: 500,
  /** Dropping all translations of one vCPU, and filling them again. */
  flush: 400,
  /** Dropping one page's. */
  flushPage: 100,
  /** Looking at one port, one event word or one active grant on the way through a list. */
  look: 4,
  /** Closing a port: both ends and its bits. */
  port: 60,
  /** One character on the hypervisor's console. */
  character: 20,
  /** A vCPU's whole context: 5 KiB, 256 traps, all registers. */
  context: 5000,
  /** Entering a handler of the guest's: a frame on its stack, and the way back. */
  trap: 100,
  /** An instruction that is carried out in the guest's place. */
  emulation: 300,
  /** A store to a page table, carried out in the guest's place. */
  tableStore: 800,
} as const)

/** Work after which a long operation pauses: a fifth of a millisecond of virtual time. */
const PORTION = 200_000

/** Result of work that has not finished: it is to be asked for again, with what is left of it. */
export const CALL_AGAIN = -(2 ** 40)

/** Counts the work of the exit in hand. */
export class WorkMeter {
  private spent = 0
  private limit = Infinity
  private readonly portion: number

  /** `portion`: work after which a long operation pauses. */
  constructor(portion = PORTION) {
    this.portion = portion
  }

  /** Work has been done: `price` instructions. */
  charge(price: number): void {
    this.spent += price
  }

  /** True when a long operation is to pause and go on in its next call. Never outside of an exit. */
  get isSpent(): boolean {
    return this.spent >= this.limit
  }

  /** An exit, or another portion of something long, begins. */
  begin(): void {
    this.spent = 0
    this.limit = this.portion
  }

  /** Does a piece of something long that is no exit, `portion` of work at least if there is so much. */
  within<T>(portion: number, work: () => T): T {
    const { spent, limit } = this
    this.spent = 0
    this.limit = portion
    try {
      return work()
    } finally {
      this.spent = spent
      this.limit = limit
    }
  }

  /** It is over: its work in instructions. From now on nothing pauses. */
  end(): number {
    this.limit = Infinity
    return this.spent
  }
}
