/**
 * Numbers in texts as C's strtol with base 0 reads them: blanks and a sign in front, decimal, 0octal or 0xhex, and nothing
 * behind. Reference: ISO C 7.22.1.4, tools/libs/util/libxlu_cfg.c (xlu_cfg_get_bounded_long).
 */

const NUMBER = /^[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/

/** What fits into the `long` of a 64-bit system. */
const [LONG_MIN, LONG_MAX] = [-(2n ** 63n), 2n ** 63n - 1n]

/** The number that a text is; undefined for what is none or does not fit into 64 bits. Exact below 2^53. */
export function parseNumber(text: string): number | undefined {
  const [, sign, hex, octal, decimal] = NUMBER.exec(text) ?? []
  // Nobody writes thousands of digits, and turning them into a BigInt takes time that grows with their square.
  if (sign === undefined || text.length > 1000) return undefined
  const magnitude = hex !== undefined ? BigInt(`0x${hex}`) : BigInt(octal !== undefined ? `0o0${octal}` : decimal!)
  const value = sign === '-' ? -magnitude : magnitude
  return value < LONG_MIN || value > LONG_MAX ? undefined : Number(value)
}
