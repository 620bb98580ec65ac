/**
 * Byte pipes over a shared page, as console and XenStore have them: two rings of bytes, one in each direction, each
 * with a producer and a consumer index in the page. There is one layout per protocol, written from the front end's
 * side; the back end's is computed by {@link mirror}.
 *
 * Both indexes live in memory that the other side can write, so they are checked at each use: a distance beyond the
 * ring's size is refused as `undefined` and the caller decides what becomes of the connection.
 *
 * Reference: xen/include/public/io/console.h, xen/include/public/io/xs_wire.h.
 */
import { XenconsInterface, XenstoreDomainInterface } from '../abi/index.ts'
import type { BytesField, NumberField } from '../util/index.ts'
import { ahead, advance } from './ring-index.ts'

/** One direction of a pipe: the data and its two indexes. */
export interface ByteRingLayout {
  readonly data: BytesField
  readonly produced: NumberField
  readonly consumed: NumberField
}

/** Both directions of a pipe as one side sees them. */
export interface BytePipeLayout {
  /** What this side writes. */
  readonly output: ByteRingLayout
  /** What this side reads. */
  readonly input: ByteRingLayout
}

/** The same pipe seen from the other side. */
export const mirror = (layout: BytePipeLayout): BytePipeLayout => ({ output: layout.input, input: layout.output })

/** The console's page as the guest sees it. */
export const CONSOLE_PIPE: BytePipeLayout = /* @__PURE__ */ Object.freeze({
  output: { data: XenconsInterface.out, produced: XenconsInterface.outProd, consumed: XenconsInterface.outCons },
  input: { data: XenconsInterface.in, produced: XenconsInterface.inProd, consumed: XenconsInterface.inCons },
})

/** XenStore's page as the guest sees it. */
export const XENSTORE_PIPE: BytePipeLayout = /* @__PURE__ */ Object.freeze({
  output: {
    data: XenstoreDomainInterface.req,
    produced: XenstoreDomainInterface.reqProd,
    consumed: XenstoreDomainInterface.reqCons,
  },
  input: {
    data: XenstoreDomainInterface.rsp,
    produced: XenstoreDomainInterface.rspProd,
    consumed: XenstoreDomainInterface.rspCons,
  },
})

/** What both halves of one direction share. */
class ByteRingSide {
  /** Bytes that the ring holds, a power of two. */
  readonly size: number
  protected readonly view: DataView
  protected readonly base: number
  protected readonly layout: ByteRingLayout
  protected readonly data: Uint8Array

  /** `base` is the byte offset of the shared page in `view`. */
  constructor(view: DataView, base: number, layout: ByteRingLayout) {
    this.view = view
    this.base = base
    this.layout = layout
    this.data = layout.data.get(view, base)
    this.size = layout.data.size
    if ((this.size & (this.size - 1)) !== 0) throw new Error(`a byte ring of ${this.size} bytes is not a power of two`)
  }

  /** Bytes in the ring; undefined when the indexes contradict its size. */
  queued(): number | undefined {
    const queued = ahead(this.layout.produced.get(this.view, this.base), this.layout.consumed.get(this.view, this.base))
    return queued > this.size ? undefined : queued
  }
}

/** The half that writes. */
export class ByteProducer extends ByteRingSide {
  /** Bytes that fit now; undefined when the indexes contradict the ring's size. */
  free(): number | undefined {
    const queued = this.queued()
    return queued === undefined ? undefined : this.size - queued
  }

  /** Writes as much of `source` from `start` on as fits, and says how much; undefined when the ring is broken. */
  write(source: Uint8Array, start = 0, end = source.length): number | undefined {
    const free = this.free()
    if (free === undefined) return undefined
    const count = Math.min(free, end - start)
    if (count <= 0) return 0
    const index = this.layout.produced.get(this.view, this.base)
    const place = index & (this.size - 1)
    const first = Math.min(count, this.size - place)
    this.data.set(source.subarray(start, start + first), place)
    if (count > first) this.data.set(source.subarray(start + first, start + count), 0)
    this.layout.produced.set(this.view, this.base, advance(index, count))
    return count
  }
}

/** The half that reads. */
export class ByteConsumer extends ByteRingSide {
  /** Copies up to `target.length` bytes without taking them, and says how many; undefined when the ring is broken. */
  peek(target: Uint8Array): number | undefined {
    const queued = this.queued()
    if (queued === undefined) return undefined
    const count = Math.min(queued, target.length)
    const place = this.layout.consumed.get(this.view, this.base) & (this.size - 1)
    const first = Math.min(count, this.size - place)
    target.set(this.data.subarray(place, place + first), 0)
    if (count > first) target.set(this.data.subarray(0, count - first), first)
    return count
  }

  /** Takes up to `count` bytes that were peeked at, and says how many; undefined when the ring is broken. */
  advance(count: number): number | undefined {
    const queued = this.queued()
    if (queued === undefined) return undefined
    const taken = Math.min(queued, count)
    this.layout.consumed.set(this.view, this.base, advance(this.layout.consumed.get(this.view, this.base), taken))
    return taken
  }

  /** Copies and takes up to `target.length` bytes, and says how many; undefined when the ring is broken. */
  read(target: Uint8Array): number | undefined {
    const count = this.peek(target)
    return count === undefined ? undefined : this.advance(count)
  }
}

/** One side's two halves over a shared page. */
export class BytePipe {
  readonly output: ByteProducer
  readonly input: ByteConsumer

  /** `base` is the byte offset of the shared page in `view`. */
  constructor(view: DataView, base: number, layout: BytePipeLayout) {
    this.output = new ByteProducer(view, base, layout.output)
    this.input = new ByteConsumer(view, base, layout.input)
  }
}
