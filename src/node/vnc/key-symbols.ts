/**
 * Keys as viewers name them, by X's symbols, and as guests know them. A viewer sends what a key writes, and Shift beside it; the guest's own layout decides
 * what it makes of the keys.
 *
 * Reference: RFC 6143, 7.5.4; X11, keysymdef.h.
 */
import { KEY_CODES, strokeOf } from '../../drivers/index.ts'

/** Symbols that write nothing. */
const SYMBOLS: ReadonlyMap<number, number> = /* @__PURE__ */ (() => {
  const named: readonly (readonly [symbol: number, key: string])[] = [
    [0xff08, 'Backspace'], [0xff09, 'Tab'], [0xfe20, 'Tab'], [0xff0d, 'Enter'], [0xff13, 'Pause'], [0xff14, 'ScrollLock'], [0xff1b, 'Escape'], [0xff50, 'Home'], [0xff51, 'ArrowLeft'],
    [0xff52, 'ArrowUp'], [0xff53, 'ArrowRight'], [0xff54, 'ArrowDown'], [0xff55, 'PageUp'], [0xff56, 'PageDown'], [0xff57, 'End'], [0xff61, 'PrintScreen'], [0xff63, 'Insert'],
    [0xff67, 'ContextMenu'], [0xff7f, 'NumLock'], [0xff7e, 'AltGraph'], [0xfe03, 'AltGraph'], [0xffe1, 'Shift'], [0xffe3, 'Control'], [0xffe5, 'CapsLock'], [0xffe7, 'Meta'],
    [0xffe9, 'Alt'], [0xffeb, 'Meta'], [0xffff, 'Delete'],
  ]
  const functions = Array.from({ length: 12 }, (_, at): [number, number] => [0xffbe + at, KEY_CODES[`F${at + 1}`]!])
  // Those on the right, and of the number block, have numbers of their own.
  const others: readonly [number, number][] = [
    [0xffe2, 54], [0xffe4, 97], [0xffea, 100], [0xffe8, 126], [0xffec, 126], [0xff8d, 96], [0xffaa, 55], [0xffab, 78], [0xffad, 74], [0xffae, 83], [0xffaf, 98],
    ...[82, 79, 80, 81, 75, 76, 77, 71, 72, 73].map((code, digit): [number, number] => [0xffb0 + digit, code]),
  ]
  return new Map([...named.map(([symbol, key]): [number, number] => [symbol, KEY_CODES[key]!]), ...functions, ...others])
})()

/** Symbols beyond this one that stand for a character of Unicode. */
const UNICODE = 0x0100_0000

/** The key of a symbol by Linux's number; undefined for one that a keyboard of the United States has not. */
export function codeOfSymbol(symbol: number): number | undefined {
  const known = SYMBOLS.get(symbol)
  if (known !== undefined) return known
  const character = symbol >= UNICODE ? symbol - UNICODE : symbol
  return character >= 0x20 && character < 0x7f ? strokeOf(String.fromCharCode(character))?.code : undefined
}
