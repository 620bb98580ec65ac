/** Memory operands of 32-bit and 16-bit addresses, and what all generators of operands share. */
import { below, type Random } from '../../src/util/index.ts'
import { dataAddress } from './initial-state.ts'

/** A memory operand as bytes, and what its registers have to hold. */
export interface Address {
  readonly modrm: number
  readonly rest: readonly number[]
  readonly rex: number
  /** Register to be set so that the operand lies at the target. */
  readonly base: number
  readonly index: number
  readonly scale: number
  readonly displacement: number
  readonly relative: boolean
}

/** True in one of `count` cases. */
export const oneIn = (random: Random, count: number): boolean => below(random, count) === 0

/** A number's lowest bytes. */
export const bytesOf = (value: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (value >>> (i * 8)) & 0xff)

const NONE = { rest: [], rex: 0, base: -1, index: -1, scale: 0, displacement: 0, relative: false } as const
/** Base and index of 16-bit addresses by ModRM.rm. */
const BASE_16 = [3, 3, 5, 5, 6, 7, 5, 3] as const
const INDEX_16 = [6, 7, 6, 7, -1, -1, -1, -1] as const

/** A random ModRM memory operand outside of 64-bit code. */
export function shortAddress(random: Random, reg: number, addressBytes: number): Address {
  const low = (reg & 7) << 3
  const mod = below(random, 3)
  const rm = below(random, 8)
  if (addressBytes === 2) return address16(random, { low, mod, rm })
  const displacement = mod === 1 ? below(random, 256) - 128 : mod === 2 ? below(random, 0x2000) - 0x1000 : 0
  const disp = mod === 1 ? [displacement & 0xff] : mod === 2 ? bytesOf(displacement, 4) : []
  const absolute = below(random, 8) === 0 ? dataAddress(random) : dataAddress(random) & 0xffff
  if (rm === 5 && mod === 0) return { ...NONE, modrm: low | 5, rest: bytesOf(absolute, 4), displacement: absolute }
  if (rm !== 4) return { ...NONE, modrm: (mod << 6) | low | rm, rest: disp, base: rm, displacement }
  const [base, index, scale] = [below(random, 8), below(random, 8), below(random, 4)]
  const sib = (scale << 6) | (index << 3) | base
  const noBase = mod === 0 && base === 5
  return {
    ...NONE, modrm: (mod << 6) | low | 4, rest: [sib, ...(noBase ? bytesOf(absolute, 4) : disp)], scale,
    base: noBase ? -1 : base, index: index === 4 ? -1 : index, displacement: noBase ? absolute : displacement,
  }
}

function address16(random: Random, o: { low: number; mod: number; rm: number }): Address {
  const { low, mod, rm } = o
  const displacement = mod === 1 ? below(random, 256) - 128 : mod === 2 ? below(random, 0x1000) - 0x800 : 0
  const modrm = (mod << 6) | low | rm
  if (mod === 0 && rm === 6) {
    const absolute = 0x800 + below(random, 0x2000)
    return { ...NONE, modrm, rest: bytesOf(absolute, 2), displacement: absolute }
  }
  const rest = mod === 0 ? [] : bytesOf(displacement, mod)
  return { ...NONE, modrm, rest, base: BASE_16[rm]!, index: INDEX_16[rm]!, displacement }
}
