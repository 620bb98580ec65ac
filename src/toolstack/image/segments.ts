/** Where the parts of a kernel lie together. */
import { imageError, type ElfSegment } from './elf.ts'

/** How many times what a kernel spans its segments may be together: the same memory is not to be written a thousand times. */
const MOST_OVERLAP = 2

/** First and one past the last physical address that is loaded. */
export function extent(segments: readonly ElfSegment[]): readonly [number, number] {
  const start = segments.reduce((least, segment) => Math.min(least, segment.physical), Infinity)
  const end = segments.reduce((most, segment) => Math.max(most, segment.physical + segment.size), -Infinity)
  const total = segments.reduce((sum, segment) => sum + segment.size, 0)
  if (total > MOST_OVERLAP * (end - start)) throw imageError('p_memsz', total, `in all: the segments lie on each other, in 0x${(end - start).toString(16)} bytes`)
  return [start, end]
}
