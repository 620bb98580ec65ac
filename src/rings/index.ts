/**
 * Rings in shared pages: wrapping indexes, request/response rings, byte pipes.
 *
 * @module
 */
export { ahead, advance, mustNotify, roundDownToPowerOfTwo } from './ring-index.ts'
export { BackRing, FrontRing, NO_ENTRY, SPLIT_ENTRY, ringState } from './split-ring.ts'
export type { RingOverrun, RingPlace, RingPosition, RingState } from './split-ring.ts'
export { BytePipe, ByteConsumer, ByteProducer, CONSOLE_PIPE, XENSTORE_PIPE, mirror } from './byte-ring.ts'
export type { BytePipeLayout, ByteRingLayout } from './byte-ring.ts'
export { flexRing } from './flex-ring.ts'
export type { FlexPlace } from './flex-ring.ts'
export { ScatteredConsumer, ScatteredProducer, scatteredIndexState } from './scattered-ring.ts'
export type { ScatteredRing } from './scattered-ring.ts'
export { vchanRings } from './vchan-ring.ts'
export type { VchanPlace, VchanRingPlace } from './vchan-ring.ts'
export { EventConsumer, EventProducer, eventRingState } from './event-ring.ts'
export type { EventPlace, EventRing } from './event-ring.ts'
