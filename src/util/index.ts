/**
 * What every layer stands on: errors, branded numbers, overlays over memory, bitmaps, events, and time and chance as parameters.
 *
 * @module
 */
export { XenError, invariant, unreachable } from './errors.ts'
export type { XenErrorDetails } from './errors.ts'
export { MAX_FRAME, domId, eventPort, gfn, grantHandle, grantRef, mfn, pfn, vcpuId } from './identifiers.ts'
export type {
  Branded, DomId, EventPort, Gfn, GrantHandle, GrantRef, Mfn, Pfn, VcpuId,
} from './identifiers.ts'
export { array, bytes, i16, i32, i8, nested, overlay, u16, u32, u64, u8 } from './overlay.ts'
export type {
  ArrayField, BytesField, Decoded, DecodedFields, Field, Fields, Layout, NestedField, NumberField, Overlay, WideField,
} from './overlay.ts'
export { ByteReader, ByteWriter, joinBytes } from './byte-cursor.ts'
export type { OwnBytes } from './byte-cursor.ts'
export { Bitmap } from './bitmap.ts'
export { FRACTION, TWO_32, bigFromParts, highPart, isCanonical, lowPart, signedFromParts, unsignedFromParts } from './wide.ts'
export { ManualClock } from './clock.ts'
export type { Clock, WallClock } from './clock.ts'
export { SeededRandom, below, fillRandom, randomShape } from './random.ts'
export type { Random, RandomState } from './random.ts'
export { callGuarded, watchAnswer } from './callbacks.ts'
export type { CallbackFailed } from './callbacks.ts'
export { EventHub } from './events.ts'
export type { EventBase, EventFilter, EventNames, EventOf, EventSource, EventStamp, EventsLost, Interest, StreamOptions } from './events.ts'
export { parseDuration, shown } from './duration.ts'
export type { Duration, DurationBounds, DurationParts } from './duration.ts'
export { isInstance, named, tryRead } from './foreign.ts'
export { thrownMessage, thrownStack, thrownText } from './thrown.ts'
export { nearestWord } from './nearest.ts'
export { once, onceFor } from './once.ts'
export {
  abortSignal, anything, byteArray, callable, checkArgument, checkConfig, checkOptions, duration, flag, having, listOf, setOf, oneOf, readRecord, real, text,
  timeLimit, whole, list, record,
} from './check-options.ts'
export type { Check, OptionChecks } from './check-options.ts'
export { shape } from './state-shape.ts'
export type { Shape, StateArray, StateOf } from './state-shape.ts'
export { sameEntries, sameFields, sameOptional, sameState } from './same-state.ts'
export { badState, inPlace, part, partSet, partTree, settle } from './state.ts'
export type { Part, PartFacts, PartSource, Quiescible, Rewind, Savable, SavedPart, SavedTree, StateValue, Stateful } from './state.ts'
export { StateHasher, compareStates, hashParts, hashState } from './state-hash.ts'
export type { StateDifference } from './state-hash.ts'
export { ERROR_CODES } from './error-codes.ts'
export type { ErrorCodeFacts, XenErrorCode } from './error-codes.ts'
