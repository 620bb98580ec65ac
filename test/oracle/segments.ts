/**
 * Segments of the oracle's cases: those of every Linux process, and a local descriptor table with odd bases, limits and
 * types, which both executors load. Outside of 64-bit mode a case names its segments by selector.
 */

import { below, type Random } from '../../src/util/index.ts'

/** Words of a descriptor. */
type Descriptor = readonly [low: number, high: number]

const NOWHERE: Descriptor = [0, 0]
/** Access bytes: ring 3, accessed. */
const ACCESS = {
  code: 0xfb, executeOnly: 0xf9, data: 0xf3, readOnly: 0xf1, expandDown: 0xf7, absent: 0x73,
} as const
/** Bits of a descriptor's high half. */
const PAGES = 1 << 23
const BIG = 1 << 22

function descriptor(access: number, o: { base: number; limit: number; flags: number }): Descriptor {
  const low = (((o.base & 0xffff) << 16) | (o.limit & 0xffff)) >>> 0
  const high = (o.base & 0xff00_0000) | ((o.base >>> 16) & 0xff) | (access << 8) | (o.limit & 0xf_0000) | o.flags
  return [low, high >>> 0]
}

/** Where code and data lie, see wire.ts. */
const CODE = 0x1000_0000
const DATA = 0x2000_0000

/** The local descriptor table. */
export const LOCAL_DESCRIPTORS: readonly Descriptor[] = [
  NOWHERE,
  descriptor(ACCESS.code, { base: CODE - 0x1_0000, limit: 0x1_17ff, flags: BIG }),
  descriptor(ACCESS.code, { base: CODE - 0x1000, limit: 0x27ff, flags: 0 }),
  descriptor(ACCESS.data, { base: DATA - 0x1000, limit: 0x33ff, flags: BIG }),
  descriptor(ACCESS.readOnly, { base: DATA, limit: 3, flags: BIG | PAGES }),
  descriptor(ACCESS.expandDown, { base: DATA, limit: 0x7ff, flags: BIG }),
  descriptor(ACCESS.expandDown, { base: DATA - 0xc000, limit: 0xcfff, flags: 0 }),
  descriptor(ACCESS.data, { base: DATA - 0x100, limit: 0x2fff, flags: 0 }),
  descriptor(ACCESS.data, { base: DATA + 0x400, limit: 0xf_ffff, flags: BIG | PAGES }),
  descriptor(ACCESS.data, { base: DATA + 0x1400, limit: 0x15ff, flags: BIG }),
  descriptor(ACCESS.executeOnly, { base: 0, limit: 0xf_ffff, flags: BIG | PAGES }),
  descriptor(ACCESS.absent, { base: DATA, limit: 0xffff, flags: BIG }),
  descriptor(ACCESS.code, { base: DATA, limit: 0x2fff, flags: BIG }),
  descriptor(ACCESS.data, { base: DATA - 0xedd, limit: 0x2fff, flags: BIG }),
]

/** Selector of an entry of the local table. */
export const local = (index: number): number => index * 8 + 7

/** The segments that Linux keeps in its descriptor table, by index: high halves; all are flat. */
const GLOBAL: Readonly<Record<number, number>> = {
  1: 0x00cf_9b00, 2: 0x00af_9b00, 3: 0x00cf_9300, 4: 0x00cf_fb00, 5: 0x00cf_f300, 6: 0x00af_fb00,
}

/** The descriptor that a selector names; undefined where there is none. */
export function descriptorOf(selector: number): Descriptor | undefined {
  if ((selector & 4) === 0) {
    const high = GLOBAL[selector >>> 3]
    return high === undefined ? undefined : [0xffff, high]
  }
  return LOCAL_DESCRIPTORS[selector >>> 3]
}

/** Base of the segment that a selector names. */
export function baseOf(selector: number): number {
  const [low, high] = descriptorOf(selector) ?? NOWHERE
  return ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0
}

/** True when offsets in a segment have 32 bits. */
export const isBig = (selector: number): boolean => ((descriptorOf(selector) ?? NOWHERE)[1] & BIG) !== 0

/** Selectors of a 64-bit process: ES, CS, SS, DS, FS, GS. */
export const LONG_SELECTORS: readonly number[] = [0, 0x33, 0x2b, 0, 0, 0]

/** How a case's code runs: how wide it is, and its segments. */
export interface CodeMode {
  readonly code: 64 | 32 | 16
  readonly selectors: readonly number[]
}

/** A 64-bit process. */
export const LONG_MODE: CodeMode = { code: 64, selectors: LONG_SELECTORS }
/** 32-bit code under a 64-bit system: flat but for FS and GS. */
export const FLAT_MODE: CodeMode = { code: 32, selectors: [0x2b, 0x23, 0x2b, 0x2b, local(8), local(9)] }

const DATA_SELECTORS = [0x2b, local(3), local(4), local(5), local(6), local(7), local(12), local(13), 0, 0x23] as const
const STACK_SELECTORS = [0x2b, local(3), local(5), local(6), local(7), local(13)] as const
const EXTRA_SELECTORS = [local(8), local(9), local(4), 0] as const

/** A mode for a case outside of 64-bit mode: mostly flat 32-bit code, else odd segments, also 16-bit code. */
export function randomMode(random: Random, code: 64 | 32): CodeMode {
  if (code === 64) return LONG_MODE
  const kind = below(random, 10)
  if (kind < 5) return FLAT_MODE
  const one = (from: readonly number[]): number => from[below(random, from.length)]!
  const selector = kind < 8 ? one([0x23, local(1)]) : local(2)
  const data = (): number => one(DATA_SELECTORS)
  const extra = (): number => one(EXTRA_SELECTORS)
  return modeOf([data(), selector, one(STACK_SELECTORS), data(), extra(), extra()])
}

/** The mode that selectors stand for. */
export function modeOf(selectors: readonly number[]): CodeMode {
  const code = selectors[1]!
  return { code: code === 0x33 ? 64 : isBig(code) ? 32 : 16, selectors }
}
