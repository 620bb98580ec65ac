/**
 * Byte rings of any size over scattered pages. Where the bytes and the two indices lie is said by the protocol: {@link flexRing} of 9pfs, {@link vchanRings} of vchans.
 *
 * The other side is hostile. Each half keeps its own index to itself and only publishes it; the other's is checked at each use, and a distance beyond
 * the ring's size is refused as `undefined`: the caller decides what becomes of the connection.
 *
 * Reference: xen/include/public/io/ring.h, DEFINE_XEN_FLEX_RING_AND_INTF; xen/include/public/io/libxenvchan.h.
 */
import { PAGE_SIZE, type HypercallPort } from '../abi/index.ts'
import { shape, type NumberField } from '../util/index.ts'
import { advance, ahead } from './ring-index.ts'

/** Where one ring lies in host memory. */
export interface ScatteredRing {
  readonly memory: HypercallPort['memory']
  /** Byte offset of the structure with the indices, and its two that are this ring's. */
  readonly indexes: number
  readonly produced: NumberField
  readonly consumed: NumberField
  /** Byte offsets of the pages that have its bytes. */
  readonly pages: readonly number[]
  /** Where it begins among the bytes of all pages. */
  readonly start: number
  /** Bytes that it holds, a power of two. */
  readonly size: number
}

/** The index that a half has published last. */
export const scatteredIndexState = shape.word

/** What both halves of one ring share. */
class ScatteredHalf {
  protected readonly ring: ScatteredRing

  constructor(ring: ScatteredRing) {
    this.ring = ring
  }

  /** Bytes that the ring holds, a power of two. */
  get size(): number {
    return this.ring.size
  }

  /** Calls `piece` for each run of bytes within a page, with its offset in host memory and among the bytes that are moved. */
  protected eachPiece(index: number, length: number, piece: (at: number, done: number, count: number) => void): void {
    const { start, size, pages } = this.ring
    for (let done = 0; done < length;) {
      const offset = start + ((index + done) & (size - 1))
      const within = offset % PAGE_SIZE
      const untilWrap = start + size - offset
      const count = Math.min(length - done, PAGE_SIZE - within, untilWrap)
      piece(pages[Math.floor(offset / PAGE_SIZE)]! + within, done, count)
      done += count
    }
  }

  protected shared(field: NumberField): number {
    return field.get(this.ring.memory.view, this.ring.indexes)
  }

  protected publish(field: NumberField, index: number): void {
    const { memory, indexes } = this.ring
    field.set(memory.view, indexes, index)
    memory.markWritten(Math.floor(indexes / PAGE_SIZE))
  }
}

/** The half that writes. */
export class ScatteredProducer extends ScatteredHalf {
  private produced: number

  /** Begins where the page says that it is. */
  constructor(ring: ScatteredRing) {
    super(ring)
    this.produced = this.shared(this.ring.produced)
  }

  /** Bytes that fit now; undefined when the reader's index contradicts the ring's size. */
  free(): number | undefined {
    const queued = ahead(this.produced, this.shared(this.ring.consumed))
    return queued > this.size ? undefined : this.size - queued
  }

  /** Writes a whole message, and then says so; false when it does not fit, undefined when the ring is broken. */
  write(source: Uint8Array): boolean | undefined {
    const free = this.free()
    if (free === undefined) return undefined
    if (free < source.length) return false
    const { memory } = this.ring
    this.eachPiece(this.produced, source.length, (at, done, count) => {
      memory.bytes.set(source.subarray(done, done + count), at)
      memory.markWritten(Math.floor(at / PAGE_SIZE))
    })
    this.produced = advance(this.produced, source.length)
    this.publish(this.ring.produced, this.produced)
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
export class ScatteredConsumer extends ScatteredHalf {
  private consumed: number

  /** Begins where the page says that it is. */
  constructor(ring: ScatteredRing) {
    super(ring)
    this.consumed = this.shared(this.ring.consumed)
  }

  /** Bytes that wait; undefined when the writer's index contradicts the ring's size. */
  queued(): number | undefined {
    const queued = ahead(this.shared(this.ring.produced), this.consumed)
    return queued > this.size ? undefined : queued
  }

  /** Copies the next bytes without taking them; the caller knows that they are there. */
  peek(target: Uint8Array): void {
    const { memory } = this.ring
    this.eachPiece(this.consumed, target.length, (at, done, count) => target.set(memory.bytes.subarray(at, at + count), done))
  }

  /** Takes bytes that were peeked at. */
  advance(count: number): void {
    this.consumed = advance(this.consumed, count)
    this.publish(this.ring.consumed, this.consumed)
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
