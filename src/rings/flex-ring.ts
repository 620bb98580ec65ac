/**
 * Byte rings of any size over scattered pages, as 9pfs has them: one page with indices and an order, and `2 ** order` data pages, the first half
 * of which are the ring `in`, which the front-end reads, and the second half the ring `out`, which it writes.
 *
 * The other side is hostile. Each half keeps its own index to itself and only publishes it; the other's is checked at each use, and a distance beyond
 * the ring's size is refused as `undefined`: the caller decides what becomes of the connection.
 *
 * Reference: xen/include/public/io/ring.h, DEFINE_XEN_FLEX_RING_AND_INTF.
 */
import { PAGE_SIZE, Xen9pfsDataIntf, flexRingSize, type HypercallPort } from '../abi/index.ts'
import { shape, type NumberField } from '../util/index.ts'
import { advance, ahead } from './ring-index.ts'

/** Where a pair of rings lies in host memory. */
export interface FlexPlace {
  readonly memory: HypercallPort['memory']
  /** Byte offset of the page with the indices. */
  readonly indexes: number
  /** Byte offsets of the data pages. */
  readonly pages: readonly number[]
  /** The two rings' pages are `2 ** order` together. */
  readonly order: number
}

/** Which of the two: named from the front-end's side. */
type Direction = 'in' | 'out'

const FIELDS: Readonly<Record<Direction, { readonly produced: NumberField; readonly consumed: NumberField }>> = /* @__PURE__ */ Object.freeze({
  in: { produced: Xen9pfsDataIntf.inProd, consumed: Xen9pfsDataIntf.inCons },
  out: { produced: Xen9pfsDataIntf.outProd, consumed: Xen9pfsDataIntf.outCons },
})

/** The index that a producer has published last. */
export const flexProducerState = shape.word
/** The index up to which a consumer has taken. */
export const flexConsumerState = shape.word

/** What both halves of one ring share. */
class FlexHalf {
  /** Bytes that the ring holds, a power of two. */
  readonly size: number
  protected readonly place: FlexPlace
  protected readonly fields: (typeof FIELDS)[Direction]
  /** Where the ring begins among the bytes of all pages. */
  private readonly start: number

  constructor(place: FlexPlace, direction: Direction) {
    this.place = place
    this.size = flexRingSize(place.order)
    this.fields = FIELDS[direction]
    this.start = direction === 'in' ? 0 : this.size
  }

  /** Calls `piece` for each run of bytes within a page, with its offset in host memory and among the bytes that are moved. */
  protected eachPiece(index: number, length: number, piece: (at: number, done: number, count: number) => void): void {
    for (let done = 0; done < length;) {
      const offset = this.start + ((index + done) & (this.size - 1))
      const within = offset % PAGE_SIZE
      const untilWrap = this.start + this.size - offset
      const count = Math.min(length - done, PAGE_SIZE - within, untilWrap)
      piece(this.place.pages[Math.floor(offset / PAGE_SIZE)]! + within, done, count)
      done += count
    }
  }

  protected shared(field: NumberField): number {
    return field.get(this.place.memory.view, this.place.indexes)
  }

  protected publish(field: NumberField, index: number): void {
    const { memory, indexes } = this.place
    field.set(memory.view, indexes, index)
    memory.markWritten(Math.floor(indexes / PAGE_SIZE))
  }
}

/** The half that writes. */
export class FlexProducer extends FlexHalf {
  private produced: number

  /** Begins where the page says that it is. */
  constructor(place: FlexPlace, direction: Direction) {
    super(place, direction)
    this.produced = this.shared(this.fields.produced)
  }

  /** Bytes that fit now; undefined when the reader's index contradicts the ring's size. */
  free(): number | undefined {
    const queued = ahead(this.produced, this.shared(this.fields.consumed))
    return queued > this.size ? undefined : this.size - queued
  }

  /** Writes a whole message, and then says so; false when it does not fit, undefined when the ring is broken. */
  write(source: Uint8Array): boolean | undefined {
    const free = this.free()
    if (free === undefined) return undefined
    if (free < source.length) return false
    const { memory } = this.place
    this.eachPiece(this.produced, source.length, (at, done, count) => {
      memory.bytes.set(source.subarray(done, done + count), at)
      memory.markWritten(Math.floor(at / PAGE_SIZE))
    })
    this.produced = advance(this.produced, source.length)
    this.publish(this.fields.produced, this.produced)
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

/** The half that reads. */
export class FlexConsumer extends FlexHalf {
  private consumed: number

  /** Begins where the page says that it is. */
  constructor(place: FlexPlace, direction: Direction) {
    super(place, direction)
    this.consumed = this.shared(this.fields.consumed)
  }

  /** Bytes that wait; undefined when the writer's index contradicts the ring's size. */
  queued(): number | undefined {
    const queued = ahead(this.shared(this.fields.produced), this.consumed)
    return queued > this.size ? undefined : queued
  }

  /** Copies the next bytes without taking them; the caller knows that they are there. */
  peek(target: Uint8Array): void {
    const { memory } = this.place
    this.eachPiece(this.consumed, target.length, (at, done, count) => target.set(memory.bytes.subarray(at, at + count), done))
  }

  /** Takes bytes that were peeked at. */
  advance(count: number): void {
    this.consumed = advance(this.consumed, count)
    this.publish(this.fields.consumed, this.consumed)
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
