/**
 * Runs of one word in bytes that are sent: of memory that nobody has written, most of it.
 * hot path: 32-bit words; memory that is no run is only looked at in every half page, so that it costs nothing.
 */

/** Bytes of a word that is repeated, and of the shortest run that is one. */
export const RUN = { WORD: 8, LEAST: 2048 } as const

/** One run. */
export interface Run {
  readonly offset: number
  /** In bytes. */
  readonly length: number
  readonly word: bigint
}

/** Words from one look to the next. A run of a page has at least one of them in it, and as much again behind it. */
const STRIDE = RUN.LEAST / 4

/** Finds runs, in their order. Bytes that do not lie at words have none. */
export function findRuns(bytes: Uint8Array): readonly Run[] {
  if (bytes.byteOffset % 4 !== 0) return []
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
  const runs: Run[] = []
  // Nothing before `from` is looked at again.
  let from = 0
  for (let at = 0; at + STRIDE <= words.length;) {
    const [low, high] = [words[at]!, words[at + 1]!]
    let end = at
    // Most that is no run shows it in the middle.
    if (words[at + STRIDE / 2] === low && words[at + STRIDE / 2 + 1] === high) end = endOf(words, at)
    let start = at
    while (start - 2 >= from && words[start - 2] === low && words[start - 1] === high) start -= 2
    if ((end - start) * 4 < RUN.LEAST) {
      at += STRIDE
      continue
    }
    runs.push({ offset: start * 4, length: (end - start) * 4, word: (BigInt(high) << 32n) | BigInt(low) })
    from = end
    at = end + (STRIDE - end % STRIDE) % STRIDE
  }
  return runs
}

/** Where the run ends that goes on from a word: an even number of words. */
function endOf(words: Uint32Array, at: number): number {
  const [low, high] = [words[at]!, words[at + 1]!]
  let end = at
  while (end + 1 < words.length && words[end] === low && words[end + 1] === high) end += 2
  return end
}
