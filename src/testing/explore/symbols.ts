/** Names of places in guests' code: by symbol tables of ELF files, or by the lines of Linux's /proc/kallsyms. */
import { findSymbol } from '../../toolstack/index.ts'

/** Where names come from: ELF files, or texts of /proc/kallsyms or System.map. */
export type SymbolSource = Uint8Array | string

/** Gives the name of the place that an address is, or undefined. */
export type SymbolFinder = (address: number) => string | undefined

/** An address so far behind a symbol is no longer its. */
const REACH = 1 << 20
const LINE = /^([0-9a-f]{1,16}) ([tTwW]) (\S+)/gm

/** Places by the lines `address type name`. */
function fromLines(lines: string): SymbolFinder {
  const places = [...lines.matchAll(LINE)].map(([, digits, , name]) => ({ address: Number(BigInt.asIntN(64, BigInt(`0x${digits}`))), name: name! }))
    .filter(({ address }) => address !== 0).sort((a, b) => a.address - b.address)
  return (address) => {
    let [low, high] = [0, places.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (places[middle]!.address <= address) low = middle + 1
      else high = middle
    }
    const place = places[low - 1]
    const offset = address - (place?.address ?? -Infinity)
    return place === undefined || offset > REACH ? undefined : `${place.name}+0x${offset.toString(16)}`
  }
}

/** Looks through several sources, the first that knows a place names it. Throws INVALID_IMAGE for an ELF file without symbols. */
export function symbolFinder(sources: readonly SymbolSource[]): SymbolFinder {
  const finders = sources.map((source) => (typeof source === 'string' ? fromLines(source) : findSymbol(source)))
  return (address) => {
    for (const find of finders) {
      const name = find(address)
      if (name !== undefined) return name
    }
    return undefined
  }
}
