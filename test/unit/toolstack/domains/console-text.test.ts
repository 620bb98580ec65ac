/** Patterns in a console's text: by lines, without carriage returns unless they are asked for, and from a place on. */
import { describe, expect, test } from 'vitest'
import { ConsoleText } from '../../../../src/toolstack/domains/console-text.ts'
import { FlatText, WAITING_PIECES } from '../../../../src/toolstack/domains/flat-text.ts'

const withText = (...pieces: readonly string[]): ConsoleText => {
  const text = new ConsoleText()
  for (const piece of pieces) text.add(piece)
  return text
}
const found = (text: ConsoleText, pattern: string | RegExp, raw = false): string | undefined => {
  const match = text.find(pattern, raw)
  if (match !== undefined) text.moveBehind(match, raw)
  return match?.[0]
}

describe('a pattern', () => {
  test('meets lines without carriage returns, wherever the guest puts them', () => {
    for (const end of ['\n', '\r\n', '\n\r', '\r\r\n']) {
      const text = withText(`# echo hello${end}hello${end}# `)
      expect(text.lines).toBe('# echo hello\nhello\n# ')
      expect(found(text, /^hello$/)).toBe('hello')
      expect(found(text, /^# $/)).toBe('# ')
    }
  })

  test('stands for the ends of lines by ^ and $, also behind an earlier match in the line', () => {
    const text = withText('login: root\r\nlogin: ')
    expect(found(text, /login/)).toBe('login')
    expect(text.find(/^: /, false)).toBeUndefined()
    expect(text.find(/^login: $/, false)?.index).toBe(12)
    expect(text.find(/a.*b/, false)).toBeUndefined()
  })

  test('of a text may carry carriage returns, as copied from a terminal', () => {
    expect(found(withText('one\r\ntwo'), 'one\r\ntwo')).toBe('one\ntwo')
    expect(found(withText('a.b'), 'a.b')).toBe('a.b')
    expect(found(withText('axb'), 'a.b')).toBeUndefined()
  })

  test('meets what the guest wrote when asked to, and both ways go on from the same place', () => {
    const text = withText('one\r\ntwo\r\nthree\r\n')
    expect(found(text, 'one\n')).toBe('one\n')
    expect(found(text, 'two\r\n', true)).toBe('two\r\n')
    expect(found(text, /^three$/)).toBe('three')
    expect(found(text, '\r\n', true)).toBe('\r\n')
    expect(found(text, /./, true)).toBeUndefined()
    text.moveTo(4, false)
    expect(found(text, /\w+/)).toBe('two')
    text.moveTo(5, true)
    expect(found(text, /\w+/)).toBe('two')
  })

  test('keeps its own flags, but for those that say where to begin', () => {
    expect(found(withText('HELLO'), /hello/i)).toBe('HELLO')
    expect(found(withText('x\ny'), /x.y/s)).toBe('x\ny')
    expect(found(withText('aab'), /b/y)).toBe('b')
  })

  test('finds its place again when old text has gone', () => {
    const text = withText('start\r\n')
    expect(found(text, 'start\n')).toBe('start\n')
    for (let i = 0; i < 300; i += 1) text.add(`${'z'.repeat(8190)}\r\n`)
    expect(text.raw.length).toBeLessThanOrEqual(2 << 20)
    text.add('end\r\n')
    expect(found(text, /^end$/)).toBe('end')
    expect(found(text, /\S/)).toBeUndefined()
    expect(text.lines).toBe(text.raw.replaceAll('\r', ''))
  })
})

describe('a text that grows by single characters', () => {
  test('is never more than a thousand pieces and the text, and reads as it was written', () => {
    const text = new FlatText()
    let most = 0
    for (let i = 0; i < 100_000; i += 1) {
      text.add(String.fromCharCode(97 + (i % 26)))
      most = Math.max(most, text.pieces)
    }
    expect([text.length, most < WAITING_PIECES]).toEqual([100_000, true])
    text.cut(99_990)
    text.add('')
    text.add('.')
    expect([text.toString(), text.length, text.pieces]).toEqual([`${'abcdefghijklmnopqrstuvwxyz'.repeat(2).slice(20, 30)}.`, 11, 0])
  })

  test('is cut like any other once it is too long', () => {
    const text = new ConsoleText()
    for (let i = 0; i < (1 << 21) + 1; i += 1) text.add(i % 64 === 62 ? '\r' : i % 64 === 63 ? '\n' : 'x')
    expect(text.raw.length).toBe(1 << 20)
    expect(text.lines.length).toBe((1 << 20) * 63 / 64)
  })
})
