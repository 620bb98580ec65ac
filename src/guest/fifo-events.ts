/**
 * The guest's half of the FIFO event channel ABI, by which a domain has 131,072 ports: pending ports are linked into a queue for each
 * priority. Control block and event words lie in pages of the guest's own.
 *
 *   event word   31 PENDING | 30 MASKED | 29 LINKED | 28 BUSY | 16..0 LINK (next port of the queue, 0 ends it)
 *
 * hot path: works on 32-bit words of host memory.
 * Reference: public/event_channel.h; Xen's design document on FIFO-based event channels; linux/drivers/xen/events/events_fifo.c.
 */
import { EVTCHN_FIFO, EvtchnFifoControlBlock, PAGE_SIZE } from '../abi/index.ts'
import { shape, type Mfn, type StateOf } from '../util/index.ts'

const PENDING = 1 << EVTCHN_FIFO.PENDING
const MASKED = 1 << EVTCHN_FIFO.MASKED
const LINKED = 1 << EVTCHN_FIFO.LINKED
const LINK_MASK = EVTCHN_FIFO.LINK_MASK
/** Event words of a page. */
export const PORTS_PER_PAGE = PAGE_SIZE / 4

/** The pages, the next port of each queue, and the queues that have been found not to be empty. */
export const fifoEventsState = /* @__PURE__ */ shape.record({
  control: shape.word, pages: /* @__PURE__ */ shape.list(shape.word, EVTCHN_FIFO.NR_CHANNELS / PORTS_PER_PAGE),
  heads: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.whole(0, LINK_MASK), EVTCHN_FIFO.MAX_QUEUES, EVTCHN_FIFO.MAX_QUEUES),
  ready: shape.word,
})

/** Saved progress through the queues. */
export type FifoEventsState = StateOf<typeof fifoEventsState>

/** Takes ports out of the queues of one vCPU. */
export class FifoEvents {
  private readonly words: Uint32Array
  private readonly control: Mfn
  /** Index of the control block's word of queues that are not empty, and of its heads. */
  private readonly readyAt: number
  private readonly headsAt: number
  /** Frames of the event words. */
  private readonly pages: Mfn[] = []
  private readonly heads: number[] = new Array<number>(EVTCHN_FIFO.MAX_QUEUES).fill(0)
  private ready = 0

  /** `control` is the frame that holds the control block of vCPU 0, at its beginning. */
  constructor(words: Uint32Array, control: Mfn) {
    const base = control * PAGE_SIZE
    this.words = words
    this.control = control
    this.readyAt = (base + EvtchnFifoControlBlock.ready.offset) >>> 2
    this.headsAt = EvtchnFifoControlBlock.head.at(base, 0) >>> 2
  }

  /** Ports that have an event word. */
  get portCount(): number {
    return this.pages.length * PORTS_PER_PAGE
  }

  /** True when a queue may hold a port. */
  get waiting(): boolean {
    return this.ready !== 0
  }

  /** Prepares a page for the next event words: all masked but those of ports that are `open`. The hypervisor is told of it afterwards. */
  prepare(page: Mfn, isOpen: (port: number) => boolean): void {
    const first = this.portCount
    for (let i = 0; i < PORTS_PER_PAGE; i += 1) this.words[page * PORTS_PER_PAGE + i] = isOpen(first + i) ? 0 : MASKED
  }

  /** The hypervisor has taken a page that was prepared. */
  add(page: Mfn): void {
    this.pages.push(page)
  }

  /** Looks which queues are not empty. */
  look(): void {
    this.ready |= this.words[this.readyAt]!
    this.words[this.readyAt] = 0
  }

  /** Takes one pending, unmasked port; 0 when there is none. */
  take(): number {
    while (this.ready !== 0) {
      const port = this.takeFrom(31 - Math.clz32(this.ready & -this.ready))
      if (port !== 0) return port
    }
    return 0
  }

  setMask(port: number): void {
    this.change(port, (word) => word | MASKED)
  }

  clearMask(port: number): void {
    this.change(port, (word) => word & ~MASKED)
  }

  clearPending(port: number): void {
    this.change(port, (word) => word & ~PENDING)
  }

  save(): FifoEventsState {
    return { control: this.control, pages: [...this.pages], heads: [...this.heads], ready: this.ready >>> 0 }
  }

  load({ pages, heads, ready }: FifoEventsState): void {
    this.pages.splice(0, this.pages.length, ...pages as readonly Mfn[])
    for (const [priority, head] of heads.entries()) this.heads[priority] = head
    this.ready = ready
  }

  /** Takes the first port of a queue; 0 when it is not pending, masked, or none. */
  private takeFrom(priority: number): number {
    const { words } = this
    const known = this.heads[priority]!
    const port = known === 0 ? words[this.headsAt + priority]! : known
    const at = this.wordOf(port)
    const word = at < 0 ? 0 : words[at]!
    const next = word & LINK_MASK
    this.heads[priority] = next
    if (next === 0) this.ready &= ~(1 << priority)
    if (at < 0) return 0
    const isTaken = (word & PENDING) !== 0 && (word & MASKED) === 0
    words[at] = word & ~(LINKED | LINK_MASK | (isTaken ? PENDING : 0))
    return isTaken ? port : 0
  }

  private wordOf(port: number): number {
    const page = port === 0 ? undefined : this.pages[Math.floor(port / PORTS_PER_PAGE)]
    return page === undefined ? -1 : page * PORTS_PER_PAGE + port % PORTS_PER_PAGE
  }

  private change(port: number, change: (word: number) => number): void {
    const at = this.wordOf(port)
    if (at >= 0) this.words[at] = change(this.words[at]!)
  }
}
