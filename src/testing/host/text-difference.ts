/** The difference between two texts, line by line, as people read it: what was expected with `-`, what came with `+`. */

/** Lines that are shown around a change. */
const CONTEXT = 3
/** Cells of the table that is filled for the lines that differ; beyond it all of them count as changed. */
const MOST_CELLS = 4_000_000

/** One line, and whether it is in both texts, only expected, or only there. */
type Mark = ' ' | '-' | '+'
type Line = readonly [mark: Mark, text: string]

/** Lengths of the longest common subsequences of the ends of both lists. */
function commonLengths(a: readonly string[], b: readonly string[]): Uint32Array {
  const width = b.length + 1
  const table = new Uint32Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j
      table[at] = a[i] === b[j] ? table[at + width + 1]! + 1 : Math.max(table[at + width]!, table[at + 1]!)
    }
  }
  return table
}

/** Both lists as one, in which each line has its mark. */
function align(a: readonly string[], b: readonly string[]): Line[] {
  if (a.length * b.length > MOST_CELLS) return [...a.map((text): Line => ['-', text]), ...b.map((text): Line => ['+', text])]
  const table = commonLengths(a, b)
  const width = b.length + 1
  const lines: Line[] = []
  let [i, j] = [0, 0]
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      lines.push([' ', a[i]!])
      i += 1
      j += 1
    } else if (table[(i + 1) * width + j]! >= table[i * width + j + 1]!) lines.push(['-', a[i++]!])
    else lines.push(['+', b[j++]!])
  }
  return [...lines, ...a.slice(i).map((text): Line => ['-', text]), ...b.slice(j).map((text): Line => ['+', text])]
}

/** Only changes, with a few lines around each. */
function shorten(lines: readonly Line[]): string[] {
  const isNear = lines.map(() => false)
  lines.forEach(([mark], place) => {
    if (mark !== ' ') for (let near = Math.max(0, place - CONTEXT); near <= Math.min(lines.length - 1, place + CONTEXT); near += 1) isNear[near] = true
  })
  const shown: string[] = []
  lines.forEach(([mark, text], place) => {
    if (isNear[place]) shown.push(`${mark} ${text}`)
    else if (place === 0 || isNear[place - 1]) shown.push('  ...')
  })
  return shown
}

/** The difference between lists of lines; undefined where there is none. */
export function differenceOfLines(expected: readonly string[], actual: readonly string[]): string | undefined {
  let start = 0
  while (start < expected.length && start < actual.length && expected[start] === actual[start]) start += 1
  if (start === expected.length && start === actual.length) return undefined
  let end = 0
  while (end < Math.min(expected.length, actual.length) - start && expected.at(-1 - end) === actual.at(-1 - end)) end += 1
  const same = (text: string): Line => [' ', text]
  const middle = align(expected.slice(start, expected.length - end), actual.slice(start, actual.length - end))
  return shorten([...expected.slice(0, start).map(same), ...middle, ...expected.slice(expected.length - end).map(same)]).join('\n')
}

/** The difference between two texts; undefined where there is none. */
export const differenceOfTexts = (expected: string, actual: string): string | undefined => differenceOfLines(expected.split('\n'), actual.split('\n'))
