/** An access through a segment as records and generated code name it: one number. The check is in runtime/segments.ts. */

/** What an access through a segment is for. */
export const SEGMENT_USE = { READ: 0, WRITE: 1, FETCH: 2 } as const
/** One of the {@link SEGMENT_USE} numbers. */
export type SegmentUse = (typeof SEGMENT_USE)[keyof typeof SEGMENT_USE]

/** An access as one number: through which segment, what it is for, and how many bytes it takes. */
export const segmentAccess = (segment: number, use: SegmentUse, bytes: number): number =>
  segment | (use << 3) | (bytes << 5)
