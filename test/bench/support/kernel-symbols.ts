/**
 * The symbols of a Linux kernel, out of its own table (CONFIG_KALLSYMS), for profiles: Debian's kernels come without a file of
 * them. The table's parts follow one another in the image, and the one whose look is known is found first: the tokens, among
 * which the digits stand for themselves.
 * Reference: Linux scripts/kallsyms.c, kernel/kallsyms.c (since 6.1: relative offsets, lengths of up to two bytes).
 */

const TOKENS = 256
const ZERO = 0x30
/** Names between two markers. */
const MARKED = 256
/** Symbols that a kernel has, and bytes that they take. */
const [FEWEST, MOST, FARTHEST] = [20_000, 1_000_000, 16 << 20]
const DIGITS = Buffer.from([...'0123456789'].map((digit) => `${digit}\0`).join(''), 'latin1')

/** Symbols by address. */
export interface KernelSymbols {
  /** Name of the function that an address lies in; addresses of the kernel are negative. */
  nameOf(address: number): string | undefined
  readonly count: number
}

/** Where the token table begins, and its tokens. */
function findTokens(image: Buffer): { readonly at: number; readonly tokens: readonly string[] } | undefined {
  for (let digits = image.indexOf(DIGITS); digits >= 0; digits = image.indexOf(DIGITS, digits + 1)) {
    let at = digits
    for (let back = 0; back < ZERO && at > 1; back += 1) at = image.lastIndexOf(0, at - 2) + 1
    const tokens: string[] = []
    for (let from = at; tokens.length < TOKENS;) {
      const end = image.indexOf(0, from)
      tokens.push(image.toString('latin1', from, end))
      from = end + 1
    }
    // Tokens that are not used are empty.
    if (tokens.every((token) => /^[\x20-\x7e]*$/.test(token))) return { at, tokens }
  }
  return undefined
}

/** Names, compressed, from an offset on: where each begins and ends. */
function* namesFrom(image: Buffer, from: number, count: number): Generator<readonly [begin: number, end: number]> {
  for (let at = from, left = count; left > 0; left -= 1) {
    let length = image[at]!
    at += 1
    if (length >= 0x80) {
      length = (length & 0x7f) | image[at]! << 7
      at += 1
    }
    yield [at, at + length]
    at += length
  }
}

/**
 * How many names there are, and where the number stands: directly before the names. Behind them stand the markers, where in the names
 * the first, the 257th ... begins.
 */
function findNames(image: Buffer, tokensAt: number): { readonly at: number; readonly count: number } | undefined {
  for (let at = (tokensAt & ~7) - 8; at > tokensAt - FARTHEST; at -= 8) {
    const count = image.readUInt32LE(at)
    if (count < FEWEST || count > MOST || image.readUInt32LE(at + 4) !== 0) continue
    let [index, end, second] = [0, at + 8, 0]
    for (const [begin, behind] of namesFrom(image, at + 8, count)) {
      if (begin === behind || behind > tokensAt) break
      if (index === MARKED) second = end - at - 8
      index += 1
      end = behind
    }
    const markers = (end + 7) & ~7
    if (index === count && image.readUInt32LE(markers) === 0 && image.readUInt32LE(markers + 4) === second) return { at, count }
  }
  return undefined
}

/** Reads the symbols of an unpacked kernel; undefined where it holds none in the form that is known. */
export function kernelSymbols(kernel: Uint8Array): KernelSymbols | undefined {
  const image = Buffer.from(kernel.buffer, kernel.byteOffset, kernel.byteLength)
  const table = findTokens(image)
  const names = table && findNames(image, table.at)
  if (names === undefined) return undefined
  const base = image.readBigInt64LE(names.at - 8)
  const offsets = names.at - 8 - ((names.count * 4 + 7) & ~7)
  const symbols: { readonly address: number; readonly name: string }[] = []
  let index = 0
  for (const [begin, end] of namesFrom(image, names.at + 8, names.count)) {
    const offset = image.readInt32LE(offsets + index * 4)
    index += 1
    const [type, ...rest] = [...image.subarray(begin, end)].map((byte) => table!.tokens[byte]!).join('')
    // Offsets of at least 0 are those of each processor's own data.
    if (offset < 0 && /[tTwW]/.test(type!)) symbols.push({ address: Number(base - 1n - BigInt(offset)), name: rest.join('') })
  }
  symbols.sort((one, other) => one.address - other.address)
  return { count: names.count, nameOf: (address) => lastBefore(symbols, address) }
}

function lastBefore(symbols: readonly { readonly address: number; readonly name: string }[], address: number): string | undefined {
  let [low, high] = [0, symbols.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (symbols[middle]!.address <= address) low = middle + 1
    else high = middle
  }
  return symbols[low - 1]?.name
}
