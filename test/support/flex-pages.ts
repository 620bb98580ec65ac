/** Pages of a pair of byte rings, as whoever writes into them what he likes has them. */
import { Xen9pfsDataIntf, flexRingSize } from '../../src/abi/index.ts'
import type { FlexPlace } from '../../src/rings/index.ts'
import type { FakeDomain } from '../../src/testing/index.ts'
import { below, type SeededRandom } from '../../src/util/index.ts'

/** The words of the page with the indices. */
export const FLEX_FIELDS = Xen9pfsDataIntf

/** The pages, and what can be done to them. */
export interface FlexPages {
  readonly view: DataView
  readonly indexes: number
  readonly place: FlexPlace
  /** Puts bytes into a ring at an index, without publishing it. */
  put(direction: 'in' | 'out', index: number, bytes: Uint8Array): void
  /** Bytes of a ring from an index on. */
  look(direction: 'in' | 'out', index: number, length: number): Uint8Array
  /** Writes anything anywhere in the page with the indices, and into the data. */
  scribble(random: SeededRandom): void
  release(): void
}

/** Pages of a domain for rings of an order. */
export function sharedPages(domain: FakeDomain, order: number): FlexPages {
  const { kernel: { frames, hypercalls: { memory } } } = domain
  const [first, ...data] = Array.from({ length: 1 + 2 ** order }, () => frames.allocate())
  const indexes = first!.base
  const size = flexRingSize(order)
  memory.bytes.fill(0, indexes, indexes + 4096)
  const placeOf = (direction: 'in' | 'out', index: number): number => {
    const offset = (index & (size - 1)) + (direction === 'in' ? 0 : size)
    return data[Math.floor(offset / 4096)]!.base + (offset % 4096)
  }
  return {
    view: memory.view, indexes, place: { memory, indexes, pages: data.map(({ base }) => base), order },
    put: (direction, index, bytes) => {
      for (const [at, byte] of bytes.entries()) memory.bytes[placeOf(direction, index + at)] = byte
    },
    look: (direction, index, length) => Uint8Array.from({ length }, (_, at) => memory.bytes[placeOf(direction, index + at)]!),
    scribble: (random) => {
      if (below(random, 3) === 0) memory.bytes[indexes + below(random, 132)] = random.next() & 0xff
      else memory.bytes[data[below(random, data.length)]!.base + below(random, 4096)] = random.next() & 0xff
    },
    release: () => { for (const page of [first!, ...data]) frames.release(page) },
  }
}
