/** Tables of symbols as Linux carries them, of kernels that there are not: 700 symbols, in each of the layouts that there have been. */
import { SeededRandom, below } from '../../src/util/index.ts'

/** The address that offsets count from. */
export const BASE = -0x7f00_0000
export const COUNT = 700

/** Versions of Linux. */
export type Layout = 'to 6.1' | 'to 6.4' | 'from 6.4'

const aligned = (bytes: readonly number[]): number[] => [...bytes, ...new Array<number>(-bytes.length & 7).fill(0)]
const words = (values: readonly number[]): number[] => values.flatMap((value) => [value, value >> 8, value >> 16, value >> 24].map((byte) => byte & 255))

/** Symbols as a kernel has them: some in areas of processors, then code and data, one name long enough for two bytes of length. */
function symbolOf(index: number): { readonly name: string; readonly offset: number } {
  if (index < 5) return { name: `Aper_cpu_${index}`, offset: index * 64 }
  const name = index === 300 ? `T${'long'.repeat(40)}` : `${index % 3 === 0 ? 'D' : index % 2 === 0 ? 't' : 'T'}name_${index}`
  return { name, offset: -1 - index * 32 }
}

/** Tokens: each letter for itself, and two for more. */
function tokenTable(): { readonly table: number[]; readonly index: number[] } {
  const texts = Array.from({ length: 256 }, (_, token) => (token === 1 ? 'name_' : token === 2 ? 'per_cpu_' : token > 0x20 && token < 0x7f ? String.fromCharCode(token) : `_${token}`))
  const table: number[] = []
  const index: number[] = []
  for (const text of texts) {
    index.push(table.length & 255, table.length >> 8)
    table.push(...new TextEncoder().encode(text), 0)
  }
  return { table, index }
}

/** The tables as scripts/kallsyms.c lays them out, between other bytes. */
export function kallsymsTables(layout: Layout, before = 1000): Uint8Array {
  const [names, marks]: [number[], number[]] = [[], []]
  for (let i = 0; i < COUNT; i += 1) {
    if (i % 256 === 0) marks.push(names.length)
    const codes = [...symbolOf(i).name.replace('name_', '\x01').replace('per_cpu_', '\x02')].map((letter) => letter.charCodeAt(0))
    names.push(...(codes.length > 127 ? [(codes.length & 127) | 128, codes.length >> 7] : [codes.length]), ...codes)
  }
  const base = new Uint8Array(new BigInt64Array([BigInt(BASE)]).buffer)
  const addresses = [...aligned(words(Array.from({ length: COUNT }, (_, i) => symbolOf(i).offset))), ...base]
  const order = aligned(Array.from({ length: COUNT }, (_, i) => [0, i >> 8, i & 255]).flat())
  const common = [...aligned(words([COUNT])), ...aligned(names), ...aligned(words(marks))]
  const tokens = kallsymsTokens()
  const all = layout === 'to 6.1' ? [...addresses, ...common, ...tokens] : layout === 'to 6.4' ? [...addresses, ...common, ...order, ...tokens] : [...common, ...tokens, ...addresses, ...order]
  const noise = new SeededRandom(1)
  return Uint8Array.from([...aligned(new Array<number>(before).fill(0xcc)), ...all, ...Array.from({ length: 999 }, () => below(noise, 256))])
}

/** The tables of tokens alone. */
export function kallsymsTokens(): number[] {
  const { table, index } = tokenTable()
  return [...aligned(table), ...aligned(index)]
}
