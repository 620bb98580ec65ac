/**
 * Initial states for the oracle: registers that are pointers, boundaries or noise; x87 and XMM registers with numbers
 * of every kind; control words that now and then unmask an exception. All from one seed.
 */
import { below, type Random } from '../../src/util/index.ts'
import { double, extended, single } from '../support/float-oracle.ts'
import { type CodeMode, LONG_MODE, baseOf } from './segments.ts'
import { FX_BYTES, type OracleCase, REGIONS, UPPER_BYTES } from './wire.ts'

const RSP = 4
const DATA = REGIONS[2]
/** RFLAGS: interrupts enabled and the bit that is always one. */
const FLAGS_FIXED = 0x202
const STATUS_FLAGS = 0x8d5
const DIRECTION = 0x400

const oneIn = (random: Random, count: number): boolean => below(random, count) === 0

/** An address in the writable data pages, sometimes so near a page's end that an access crosses it. */
export function dataAddress(random: Random): number {
  if (oneIn(random, 8)) return DATA.address + below(random, 4) * 0x1000 + 0x1000 - below(random, 24)
  const offset = 0x80 + below(random, DATA.pages * 0x1000 - 0x200)
  return DATA.address + (oneIn(random, 2) ? offset & ~15 : offset)
}

const BOUNDARIES = [
  [0, 0], [1, 0], [0xffff_ffff, 0xffff_ffff], [0x7fff_ffff, 0], [0x8000_0000, 0], [0x8000_0000, 0xffff_ffff],
  [0xffff_ffff, 0], [0xffff_ffff, 0x7fff_ffff], [0, 0x8000_0000], [0x80, 0], [0x7f, 0], [0x8000, 0], [0xff, 0],
  [0, 1], [63, 0], [64, 0], [0xffff, 0], [0xffff_ff80, 0xffff_ffff],
] as const

/** A general register's value, low and high half. */
export function generalValue(random: Random): readonly [number, number] {
  switch (below(random, 8)) {
    case 0: return BOUNDARIES[below(random, BOUNDARIES.length)]!
    case 1: return [below(random, 256), 0]
    case 2: return [random.next(), random.next()]
    case 3: return [random.next(), 0]
    default: return [dataAddress(random), 0]
  }
}

function mxcsr(random: Random): number {
  const masks = oneIn(random, 6) ? random.next() & 0x1f80 : 0x1f80
  const rounding = oneIn(random, 2) ? 0 : below(random, 4) << 13
  const zeros = (oneIn(random, 5) ? 0x8000 : 0) | (oneIn(random, 5) ? 0x40 : 0)
  return masks | rounding | zeros | (oneIn(random, 2) ? random.next() & 0x3f : 0)
}

/** x87 control and status word, and tags. An exception is now and then pending. */
function x87Words(random: Random, view: DataView): void {
  const masks = oneIn(random, 6) ? random.next() & 0x3f : 0x3f
  const precision = oneIn(random, 4) ? [0, 2, 3][below(random, 3)]! : 3
  const control = 0x40 | masks | (precision << 8) | (oneIn(random, 2) ? 0 : below(random, 4) << 10)
  let status = (random.next() & 0x4700) | (below(random, 8) << 11)
  if (oneIn(random, 3)) status |= random.next() & (oneIn(random, 4) ? 0x3f : control & 0x3f)
  if ((status & ~control & 0x3f) !== 0) status |= 0x8080
  view.setUint16(0, control, true)
  view.setUint16(2, status, true)
  view.setUint8(4, oneIn(random, 3) ? random.next() & 0xff : oneIn(random, 2) ? 0xff : 0x3f)
}

function xmm(random: Random, view: DataView, at: number): void {
  const kind = below(random, 4)
  for (let word = 0; word < 4; word += 1) {
    if (kind === 0) view.setUint32(at + word * 4, random.next(), true)
    else if (kind === 1) view.setUint32(at + word * 4, single(random), true)
    else if (kind === 2) {
      if (word % 2 === 0) double(random).forEach((half, i) => view.setUint32(at + (word + i) * 4, half, true))
    } else view.setUint32(at + word * 4, BOUNDARIES[below(random, BOUNDARIES.length)]![0], true)
  }
}

/** What a vector in memory may hold: numbers of one kind, their edges among them. */
export function vectorBytes(random: Random): Uint8Array {
  const bytes = new Uint8Array(32)
  for (const at of [0, 16]) xmm(random, new DataView(bytes.buffer), at)
  return bytes
}

/** Random upper halves of the vector registers; now and then there are none. */
function upperHalves(random: Random): Uint8Array {
  const bytes = new Uint8Array(UPPER_BYTES)
  if (oneIn(random, 8)) return bytes
  for (let register = 0; register < 16; register += 1) xmm(random, new DataView(bytes.buffer), register * 16)
  return bytes
}

/** A random FXSAVE image. */
export function fxImage(random: Random): Uint8Array {
  const image = new Uint8Array(512)
  const view = new DataView(image.buffer)
  x87Words(random, view)
  view.setUint32(24, mxcsr(random), true)
  for (let register = 0; register < 8; register += 1) {
    const [low, high, signExponent] = extended(random)
    view.setUint32(32 + register * 16, low, true)
    view.setUint32(36 + register * 16, high, true)
    view.setUint16(40 + register * 16, signExponent, true)
  }
  for (let register = 0; register < 16; register += 1) xmm(random, view, 160 + register * 16)
  return image.subarray(0, FX_BYTES)
}

/**
 * What a register of such a value holds outside of 64-bit mode: 32 bits, an address as its offset in a segment.
 */
export function shorten(random: Random, value: number, selectors: readonly number[]): number {
  if (value < DATA.address || value >= DATA.address + DATA.pages * 0x1000) return value
  return (value - baseOf(selectors[oneIn(random, 4) ? 2 : 3]!)) >>> 0
}

/** A random state whose instruction pointer stands at `code`, put at `rip` in its code segment. */
export function randomCase(random: Random, rip: number, code: Uint8Array, mode: CodeMode = LONG_MODE): OracleCase {
  const { selectors } = mode
  const general = new Uint32Array(32)
  for (let register = 0; register < 16; register += 1) {
    const [low, high] = register === RSP && !oneIn(random, 16) ? [dataAddress(random) & ~7, 0] : generalValue(random)
    general[register * 2] = low
    general[register * 2 + 1] = high
  }
  if (mode.code !== 64) {
    for (let register = 0; register < 8; register += 1) {
      const value = general[register * 2]!
      general[register * 2 + 1] = 0
      general[register * 2] = register === RSP && value >= DATA.address ? (value - baseOf(selectors[2]!)) >>> 0
        : shorten(random, value, selectors)
    }
  }
  const flags = FLAGS_FIXED | (random.next() & STATUS_FLAGS) | (oneIn(random, 8) ? DIRECTION : 0)
  return {
    general, rip, flags,
    fsBase: mode.code === 64 ? DATA.address + 0x400 : baseOf(selectors[4]!),
    gsBase: mode.code === 64 ? DATA.address + 0x1400 : baseOf(selectors[5]!),
    steps: 1, fx: fxImage(random), patches: [{ address: rip + baseOf(selectors[1]!), bytes: code }], selectors,
    // Last, so that states of recorded vectors stay what they are.
    upper: upperHalves(random),
  }
}
