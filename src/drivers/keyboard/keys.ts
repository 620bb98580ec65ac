/**
 * Keys by name and by what they write: Linux's numbers of the keys of a keyboard of the United States, by which guests know them.
 *
 * Reference: Linux, include/uapi/linux/input-event-codes.h; W3C, UI Events KeyboardEvent key Values.
 */
import type { KeyInput } from './protocol.ts'

/** Keys that write nothing, by their names in browsers' events, and the buttons of a pointer. */
export const KEY_CODES: Readonly<Record<string, number>> = /* @__PURE__ */ (() => ({
  Escape: 1, Backspace: 14, Tab: 15, Enter: 28, Control: 29, Shift: 42, Alt: 56, CapsLock: 58, NumLock: 69, ScrollLock: 70, PrintScreen: 99, AltGraph: 100,
  Home: 102, ArrowUp: 103, PageUp: 104, ArrowLeft: 105, ArrowRight: 106, End: 107, ArrowDown: 108, PageDown: 109, Insert: 110, Delete: 111, Pause: 119, Meta: 125, ContextMenu: 127,
  ...Object.fromEntries(Array.from({ length: 12 }, (_, at) => [`F${at + 1}`, at < 10 ? 59 + at : 77 + at])),
  ButtonLeft: 0x110, ButtonRight: 0x111, ButtonMiddle: 0x112,
}))()

/** Rows of the keyboard from a key's number on: what each key writes, and what it writes with Shift. */
const ROWS: readonly (readonly [first: number, plain: string, shifted: string])[] = [
  [2, '1234567890-=', '!@#$%^&*()_+'], [16, 'qwertyuiop[]', 'QWERTYUIOP{}'], [30, 'asdfghjkl;\'`', 'ASDFGHJKL:"~'], [43, '\\zxcvbnm,./', '|ZXCVBNM<>?'], [57, ' ', ' '],
]

/** How a key writes a character. */
export interface Stroke {
  /** Linux's number of the key. */
  readonly code: number
  /** With Shift. */
  readonly isShifted: boolean
}

const STROKES: ReadonlyMap<string, Stroke> = /* @__PURE__ */ new Map([
  ...ROWS.flatMap(([first, plain, shifted]) => [...shifted].map((character, at): [string, Stroke] => [character, { code: first + at, isShifted: shifted !== plain }])),
  ...ROWS.flatMap(([first, plain]) => [...plain].map((character, at): [string, Stroke] => [character, { code: first + at, isShifted: false }])),
  ['\n', { code: 28, isShifted: false }], ['\t', { code: 15, isShifted: false }],
])

/** The key that writes a character, with or without Shift; undefined for one that no key writes. */
export const strokeOf = (character: string): Stroke | undefined => STROKES.get(character)

/** The key of a name such as `Enter`, of a character, or of Linux's number; undefined for what is none. */
export function keyCode(key: string | number): number | undefined {
  if (typeof key === 'number') return key
  return Object.hasOwn(KEY_CODES, key) ? KEY_CODES[key] : STROKES.get(key)?.code
}

const SHIFT = 42

/** What has to be pressed and let go to write a text; the first character that no key writes instead. */
export function strokesOf(text: string): readonly KeyInput[] | string {
  const inputs: KeyInput[] = []
  for (const character of text) {
    const stroke = STROKES.get(character)
    if (stroke === undefined) return character
    const keys = stroke.isShifted ? [SHIFT, stroke.code] : [stroke.code]
    inputs.push(...keys.map((code): KeyInput => ({ type: 'key', code, pressed: true })), ...keys.reverse().map((code): KeyInput => ({ type: 'key', code, pressed: false })))
  }
  return inputs
}
