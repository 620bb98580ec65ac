/**
 * Backslashes in the strings of description files, as xl takes them: `\\`, `\"`, `\'`, `\a \b \f \n \r \t \v`.
 * A numeric escape in octal is understood by xl and gives no character; one in hexadecimal is always refused.
 * Reference: tools/libs/util/libxlu_cfg.c (xlu__cfgl_dequote).
 */

const CHARACTERS: ReadonlyMap<string, string> = /* @__PURE__ */ new Map([
  ['"', '"'], ["'", "'"], ['\\', '\\'],
  ['a', '\x07'], ['b', '\b'], ['f', '\f'], ['n', '\n'], ['r', '\r'], ['t', '\t'], ['v', '\v'],
])

/** Two or three decimal digits behind the first: strtoul on three characters, so blanks and a sign count among them. */
const OCTAL_REST = /^[ \t\n\v\f\r]*[+-]?[0-9]+/

/** A string without its quotes and backslashes. */
export type Dequoted =
  | { readonly text: string; /** Offsets of escapes that gave nothing. */ readonly dropped: readonly number[] }
  | { readonly text: undefined; readonly fault: string; readonly offset: number }

/** Length of what follows an octal escape's first digit; undefined when xl refuses it. */
function octalRest(raw: string): number | undefined {
  const length = OCTAL_REST.exec(raw.slice(0, 3))?.[0].length ?? 0
  return length >= 2 ? length : undefined
}

/** Takes the backslashes out of what stands between quotes; `raw` does not end in an odd backslash. */
export function dequote(raw: string): Dequoted {
  if (!raw.includes('\\')) return { text: raw, dropped: [] }
  const parts: string[] = []
  const dropped: number[] = []
  let start = 0
  for (let at = raw.indexOf('\\'); at >= 0; at = raw.indexOf('\\', start)) {
    parts.push(raw.slice(start, at))
    const letter = raw[at + 1] ?? ''
    start = at + 2
    const character = CHARACTERS.get(letter)
    if (character !== undefined) parts.push(character)
    else if (letter >= '0' && letter <= '7') {
      const rest = octalRest(raw.slice(start))
      if (rest === undefined) return { text: undefined, fault: `\`\\${letter}\` needs three octal digits`, offset: at }
      dropped.push(at)
      start += rest
    } else {
      const fault = letter === 'x' ? 'hexadecimal escapes are refused, as by xl' : `\`\\${letter}\` has no meaning in a string`
      return { text: undefined, fault, offset: at }
    }
  }
  parts.push(raw.slice(start))
  return { text: parts.join(''), dropped }
}
