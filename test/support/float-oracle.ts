/**
 * Single floating-point instructions on the real processor: builds records for test/oracle/native/float-ops.c, runs
 * them in one go and reads the answers. Also makes operands: random ones mixed with those where mistakes hide.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { below, type Random } from '../../src/util/index.ts'
import { buildNative, type NativeProgram } from './native-build.ts'

const RECORD = 48

/** One instruction to run; operands are up to four words, least significant first. */
export interface FloatCase {
  readonly operation: number
  readonly control: number
  readonly a: readonly number[]
  readonly b: readonly number[]
}

/** What the processor answered. */
export interface FloatAnswer {
  readonly first: readonly number[]
  readonly second: readonly number[]
  readonly status: number
}

/** The harness, compiled on first use. */
export const floatHarness = (): NativeProgram =>
  buildNative(fileURLToPath(new URL('../oracle/native/float-ops.c', import.meta.url)), ['-O1', '-msse4.1'])

/** Runs all cases natively. */
export function runNatively(path: string, cases: readonly FloatCase[]): FloatAnswer[] {
  const input = new Uint32Array((cases.length * RECORD) / 4)
  cases.forEach((one, index) => {
    const at = (index * RECORD) / 4
    input[at] = one.operation
    input[at + 1] = one.control
    input.set(one.a, at + 4)
    input.set(one.b, at + 8)
  })
  const run = spawnSync(path, [], { input: new Uint8Array(input.buffer), maxBuffer: input.byteLength + RECORD })
  if (run.status !== 0) throw new Error(`harness ended with ${run.status ?? run.signal}`)
  const output = new Uint32Array(new Uint8Array(run.stdout).buffer)
  return cases.map((_, index) => {
    const at = (index * RECORD) / 4
    return {
      first: [...output.subarray(at, at + 4)],
      second: [...output.subarray(at + 4, at + 8)],
      status: output[at + 8]!,
    }
  })
}

const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)]!

/** A 64-bit fraction: random, sparse, or a run of ones that carries far when rounded. */
function fraction(random: Random): [number, number] {
  switch (below(random, 7)) {
    case 0: return [0, 0]
    case 1: return [0xffff_ffff, 0xffff_ffff]
    case 2: return [0, (random.next() & 0xfff0_0000) >>> 0]
    case 3: return [1 << below(random, 32), 0]
    case 4: return [0, 1 << below(random, 32)]
    case 5: {
      const cut = below(random, 32)
      return [(0xffff_ffff << cut) >>> 0, 0xffff_ffff]
    }
    default: return [random.next(), random.next()]
  }
}

function exponent(random: Random, bits: number): number {
  const top = 2 ** bits - 1
  const middle = top >> 1
  switch (below(random, 8)) {
    case 0: return 0
    case 1: return top
    case 2: return pick(random, [1, 2, top - 1, top - 2])
    case 3: return below(random, top + 1)
    case 4: return Math.max(0, below(random, 70))
    case 5: return (middle - 70 + below(random, 140)) & top
    default: return (middle - 6 + below(random, 14)) & top
  }
}

/** A binary32 pattern. */
export function single(random: Random): number {
  const [, high] = fraction(random)
  return ((random.next() & 0x8000_0000) | (exponent(random, 8) << 23) | (high >>> 9)) >>> 0
}

/** A binary64 pattern, low half first. */
export function double(random: Random): [number, number] {
  const [low, high] = fraction(random)
  return [low, ((random.next() & 0x8000_0000) | (exponent(random, 11) << 20) | (high >>> 12)) >>> 0]
}

/** A double extended pattern; one in sixteen has the wrong integer bit. */
export function extended(random: Random): [number, number, number] {
  const [low, high] = fraction(random)
  const biased = exponent(random, 15)
  const wrong = below(random, 16) === 0
  const integerBit = (biased === 0) === wrong ? 0x8000_0000 : 0
  const significand = ((high & 0x7fff_ffff) | integerBit) >>> 0
  return [low, significand, (random.next() & 0x8000) | biased]
}

/** A 64-bit integer of random magnitude, low half first. */
export function integer(random: Random): [number, number] {
  const [low, high] = below(random, 2) === 0 ? fraction(random) : [random.next(), random.next()]
  const shift = below(random, 64)
  const value = BigInt.asIntN(64, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)) >> BigInt(shift)
  return [Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn)]
}

/** Runs of words as hexadecimal, most significant first, for messages. */
export const hex = (words: readonly number[]): string =>
  [...words].reverse().map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('_')
