/**
 * AVX instructions without floating point that are too involved for generated code: loads and stores of chosen lanes,
 * gathers, VMPSADBW.
 *
 * Records: SHAPES.operands; the displacement is 1 for 256 bits; those of gathers and masked moves are said there.
 * Reference: Intel SDM volume 2, VMASKMOV, VPMASKMOV, VPGATHERDD, MPSADBW.
 */
import { lowPart } from '../../../util/index.ts'
import type { Core } from '../core/core.ts'
import { GUEST_FAULT } from '../core/faults.ts'
import type { Handler } from '../core/handler.ts'
import { LANE_ACCESS } from '../layout/lane-access.ts'
import { RECORD } from '../layout/record.ts'
import { SEGMENT_USE } from '../layout/segment-access.ts'
import type { SegmentUse } from '../layout/segment-access.ts'
import { SLOT, STATUS, UPPER_HALF } from '../layout/state.ts'
import { operandsOf } from './avx-float.ts'
import { PRICE } from './prices.ts'
import { rows } from './rows.ts'
import type { Handlers } from './rows.ts'
import { differences } from './sse-other.ts'

const HALF = 16

/** Byte in memory of a byte of a register. */
const byteOf = (register: number, at: number): number => register + (at & 15) + (at >> 4) * UPPER_HALF

const longDifferences: Handler = (core, record) => {
  const { view, to, a, b, control, halves } = operandsOf(core, record)
  const { bytes } = core.registers
  const sums = Array.from({ length: halves }, (_, half) => {
    const chosen = control >> (half * 3)
    const at = half * UPPER_HALF
    return differences(bytes, a + at + (chosen & 4), b + at + (chosen & 3) * 4)
  })
  for (let half = 0; half < 2; half += 1) {
    for (let i = 0; i < 8; i += 1) view.setUint16(to + half * UPPER_HALF + i * 2, sums[half]?.[i] ?? 0, true)
  }
  return STATUS.NEXT
}

/** True where a lane's top bit is set in a mask. */
const isChosen = (bytes: Uint8Array, mask: number, end: number): boolean => bytes[byteOf(mask, end - 1)]! >= 0x80

/** How a record's lanes are reached: see layout/lane-access.ts. */
interface LaneAccess {
  readonly dataBytes: 4 | 8
  readonly indexBytes: 4 | 8
  readonly scale: number
  readonly isShort: boolean
  readonly halves: 1 | 2
  readonly slot: number
  readonly segment: number
}

function laneAccess(core: Core, record: number): LaneAccess {
  const packed = core.records.displacement(record)
  return {
    dataBytes: (packed & LANE_ACCESS.wideData) === 0 ? 4 : 8, indexBytes: (packed & LANE_ACCESS.wideIndex) === 0 ? 4 : 8,
    scale: (packed >> LANE_ACCESS.scale) & 3, isShort: (packed & LANE_ACCESS.shortAddress) !== 0,
    halves: (packed & LANE_ACCESS.long) === 0 ? 1 : 2, slot: (packed >>> LANE_ACCESS.slot) & 0xff, segment: packed >>> LANE_ACCESS.segment,
  }
}

/** Halves of a 64-bit number. */
type Halves = readonly [low: number, high: number]

/**
 * Linear address of a lane: the offset in t3, so many times an index, and the segment's base. What leaves the segment's limit
 * ends the handler with the fault.
 */
function addressOf({ registers, segments }: Core, lane: LaneAccess, index: Halves, use: SegmentUse): number {
  const base = registers.address(lane.slot)
  if (!lane.isShort) {
    const whole = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0)
    const offset = whole(registers.low(SLOT.t3), registers.high(SLOT.t3)) + (whole(...index) << BigInt(lane.scale))
    return Number(BigInt.asIntN(64, offset + BigInt(base)))
  }
  const offset = (registers.low(SLOT.t3) + (index[0] << lane.scale)) >>> 0
  if (registers.long) return offset + base
  const linear = lowPart(offset + base)
  if (!segments.allows(lane.segment, { linear, use, bytes: lane.dataBytes })) throw GUEST_FAULT
  return linear
}

/** The same for the lane so many bytes into a vector: in 64-bit code only where the vector begins is cut to a short address. */
function addressWithin(core: Core, lane: LaneAccess, at: number, use: SegmentUse): number {
  const { registers } = core
  if (lane.isShort && registers.long) return addressOf(core, lane, [0, 0], use) + at
  return addressOf(core, lane, [at, 0], use)
}

/** The processor does not ask for alignment lane by lane. */
function unaligned<T>({ debug }: Core, body: () => T): T {
  debug.alignment = 1
  try {
    return body()
  } finally {
    debug.alignment = undefined
  }
}

/** Loads the lanes that the mask in the first operand chooses; the others become zero. */
const maskedLoad: Handler = (core, record) => {
  const { registers, memory } = core
  const { to, a: mask } = operandsOf(core, record)
  const lane = laneAccess(core, record)
  const { bytes } = registers
  const result = new Uint8Array(2 * HALF)
  unaligned(core, () => {
    for (let at = 0; at < lane.halves * HALF; at += lane.dataBytes) {
      if (!isChosen(bytes, mask, at + lane.dataBytes)) continue
      const host = memory.hostForRead(addressWithin(core, lane, at, SEGMENT_USE.READ), lane.dataBytes)
      result.set(bytes.subarray(host, host + lane.dataBytes), at)
    }
  })
  for (let half = 0; half < 2; half += 1) bytes.set(result.subarray(half * HALF, (half + 1) * HALF), to + half * UPPER_HALF)
  return STATUS.NEXT
}

/** Stores the lanes of the source that the mask chooses; none when one of them would fault. */
const maskedStore: Handler = (core, record) => {
  const { registers, memory } = core
  const { a: mask, b: from } = operandsOf(core, record)
  const lane = laneAccess(core, record)
  const { bytes } = registers
  return unaligned(core, () => {
    const chosen: (readonly [at: number, address: number])[] = []
    for (let at = 0; at < lane.halves * HALF; at += lane.dataBytes) {
      if (!isChosen(bytes, mask, at + lane.dataBytes)) continue
      const address = addressWithin(core, lane, at, SEGMENT_USE.WRITE)
      memory.hostForWrite(address, lane.dataBytes)
      chosen.push([at, address])
    }
    let status: number = STATUS.NEXT
    for (const [at, address] of chosen) {
      const host = memory.hostForWrite(address, lane.dataBytes)
      const place = byteOf(from, at)
      bytes.copyWithin(host, place, place + lane.dataBytes)
      status |= memory.finishWrite(host)
    }
    return status
  })
}

/**
 * Loads each lane whose mask chooses it from an address of its own, in turn. A fault ends it with the lanes before done: they
 * are in the destination, and the mask has only those that are left, so that it goes on when it is executed again.
 */
const gather: Handler = (core, record) => {
  const { registers, memory, records } = core
  const { view, bytes } = registers
  const lane = laneAccess(core, record)
  const { dataBytes, indexBytes } = lane
  const { to, a: mask, b: indices } = operandsOf(core, record)
  const count = records.field(record, RECORD.control)
  unaligned(core, () => {
    for (let i = 0; i < count; i += 1) {
      const at = i * dataBytes
      if (isChosen(bytes, mask, at + dataBytes)) {
        const place = byteOf(indices, i * indexBytes)
        const low = view.getInt32(place, true)
        const index: Halves = [low, indexBytes === 4 ? low >> 31 : view.getInt32(place + 4, true)]
        const host = memory.hostForRead(addressOf(core, lane, index, SEGMENT_USE.READ), dataBytes)
        bytes.copyWithin(byteOf(to, at), host, host + dataBytes)
      }
      bytes.fill(0, byteOf(mask, at), byteOf(mask, at) + dataBytes)
    }
  })
  for (let at = 0; at < 2 * HALF; at += 1) {
    bytes[byteOf(mask, at)] = 0
    if (at >= count * dataBytes) bytes[byteOf(to, at)] = 0
  }
  return STATUS.NEXT
}

/** Handlers by name. */
export const AVX_OTHER_HANDLERS: Handlers = {
  ...rows({
    vmpsadbw: longDifferences, 'masked-load': maskedLoad, 'masked-store': maskedStore,
  }, { price: PRICE.shortWork }),
  ...rows({ gather }, { price: PRICE.longVector }),
}
