/**
 * Sizes as Xen's command line spells them, and dom0's share of the host's memory.
 * Reference: docs/misc/xen-command-line.pandoc, "size" and "dom0_mem".
 */

const MEBIBYTE = 2 ** 20
/** A number without a unit counts KiB. */
const UNITS: Readonly<Record<string, number>> = { b: 1, k: 2 ** 10, '': 2 ** 10, m: MEBIBYTE, g: 2 ** 30, t: 2 ** 40 }

/** Bytes of `512M`, `262144` (KiB) or `0x10000k`; undefined for anything else. */
export function parseSize(text: string): number | undefined {
  const match = /^(0x[0-9a-f]{1,12}|[0-9]{1,12})([bkmgt]?)$/i.exec(text)
  if (match === null) return undefined
  const bytes = Number(match[1]) * UNITS[match[2]!.toLowerCase()]!
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** An amount that may depend on the host's memory: bytes plus a share of all. Negative: all but that. */
export interface Amount {
  readonly bytes: number
  readonly percent: number
}

/** How much memory dom0 is to have. */
export interface Dom0Memory {
  readonly amount?: Amount
  readonly min?: Amount
  readonly max?: Amount
}

/** `512M`, `-128M`, `50%` or `1G+25%`. */
function parseAmount(text: string): Amount | undefined {
  const negative = text.startsWith('-')
  const [first = '', second, more] = text.slice(negative ? 1 : 0).split('+')
  const percent = (part: string): number | undefined =>
    /^[0-9]{1,2}%$|^100%$/.test(part) ? Number(part.slice(0, -1)) : undefined
  if (more !== undefined) return undefined
  const alone = percent(first)
  if (alone !== undefined) return second === undefined && !negative ? { bytes: 0, percent: alone } : undefined
  const bytes = parseSize(first)
  const share = second === undefined ? 0 : percent(second)
  if (bytes === undefined || share === undefined) return undefined
  return { bytes: negative ? -bytes : bytes, percent: negative ? -share : share }
}

/** Reads the value of `dom0_mem=`: a comma-separated list of `SIZE`, `min:SIZE` and `max:SIZE`. */
export function parseDom0Memory(text: string): Dom0Memory | undefined {
  const result: { -readonly [K in keyof Dom0Memory]: Dom0Memory[K] } = {}
  for (const part of text.split(',')) {
    const [, word, value = ''] = /^(?:(min|max):)?(.+)$/.exec(part) ?? []
    const amount = parseAmount(value)
    if (amount === undefined) return undefined
    if (word === 'min' || word === 'max') result[word] = amount
    else result.amount = amount
  }
  return result
}

/** Dom0's share of `total` bytes in whole MiB, the limits applied as Xen does: min first, then max. */
export function dom0Mebibytes(memory: Dom0Memory, total: number, otherwise: number): number {
  const resolve = ({ bytes, percent }: Amount): number => {
    const value = bytes + total * percent / 100
    return value < 0 || Object.is(value, -0) ? total + value : value
  }
  let wanted = memory.amount === undefined ? otherwise : resolve(memory.amount)
  if (memory.min !== undefined) wanted = Math.max(wanted, resolve(memory.min))
  if (memory.max !== undefined) wanted = Math.min(wanted, resolve(memory.max))
  return Math.floor(wanted / MEBIBYTE)
}
