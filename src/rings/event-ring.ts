/**
 * Rings of events: a shared page with events of one size in a row, to which one side adds and from which the other takes, as framebuffers and
 * keyboards have them.
 *
 * The other side is hostile. Each half keeps its own index to itself and only publishes it; the other's is checked at each use, and a distance beyond the
 * ring is refused as `undefined`: the caller decides what becomes of the connection. An event is copied once and then looked at.
 *
 * Reference: xen/include/public/io/fbif.h, kbdif.h.
 */
import { PAGE_SIZE, type HypercallPort } from '../abi/index.ts'
import { shape, type NumberField } from '../util/index.ts'
import { advance, ahead } from './ring-index.ts'

/** How a ring lies in its page. */
export interface EventRing {
  /** Events that there is room for, and bytes of each. */
  readonly count: number
  readonly bytes: number
  /** Byte of the page at which the first one is. */
  readonly offset: number
  readonly produced: NumberField
  readonly consumed: NumberField
}

/** Where a page is. */
export interface EventPlace {
  readonly memory: HypercallPort['memory']
  /** Byte offset of the page in host memory. */
  readonly base: number
}

/** The index of either half, saved. */
export const eventRingState = shape.word

const slot = ({ offset, count, bytes }: EventRing, index: number): number => offset + (index % count) * bytes

/** The half that adds events. */
export class EventProducer {
  private readonly place: EventPlace
  private readonly ring: EventRing
  private produced: number

  /** Begins where the page says that it is. */
  constructor(place: EventPlace, ring: EventRing) {
    this.place = place
    this.ring = ring
    this.produced = ring.produced.get(place.memory.view, place.base)
  }

  /** Adds an event by its first bytes; false where there is no room, undefined where the other side's index contradicts the ring. */
  add(event: Uint8Array): boolean | undefined {
    const { place: { memory, base }, ring } = this
    const used = ahead(this.produced, ring.consumed.get(memory.view, base))
    if (used > ring.count) return undefined
    if (used === ring.count) return false
    const at = base + slot(ring, this.produced)
    memory.bytes.fill(0, at, at + ring.bytes)
    memory.bytes.set(event, at)
    this.produced = advance(this.produced, 1)
    ring.produced.set(memory.view, base, this.produced)
    memory.markWritten(Math.floor(base / PAGE_SIZE))
    return true
  }

  /** Its own index. */
  save(): number {
    return this.produced
  }

  /** Goes on at a saved index. */
  load(produced: number): void {
    this.produced = produced
  }
}

/** The half that takes events. */
export class EventConsumer {
  private readonly place: EventPlace
  private readonly ring: EventRing
  private consumed: number

  /** Begins where the page says that it is. */
  constructor(place: EventPlace, ring: EventRing) {
    this.place = place
    this.ring = ring
    this.consumed = ring.consumed.get(place.memory.view, place.base)
  }

  /** Copies of all events that wait, which are taken by that; undefined where the other side's index contradicts the ring. */
  take(): readonly DataView[] | undefined {
    const { place: { memory, base }, ring } = this
    const waiting = ahead(ring.produced.get(memory.view, base), this.consumed)
    if (waiting > ring.count) return undefined
    const events: DataView[] = []
    for (let taken = 0; taken < waiting; taken += 1) {
      const at = base + slot(ring, advance(this.consumed, taken))
      const copy = memory.bytes.slice(at, at + ring.bytes)
      events.push(new DataView(copy.buffer))
    }
    this.consumed = advance(this.consumed, waiting)
    ring.consumed.set(memory.view, base, this.consumed)
    if (waiting > 0) memory.markWritten(Math.floor(base / PAGE_SIZE))
    return events
  }

  /** Its own index. */
  save(): number {
    return this.consumed
  }

  /** Goes on at a saved index. */
  load(consumed: number): void {
    this.consumed = consumed
  }
}
