import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/util/index.ts'
import { parseConfig } from '../../../../src/toolstack/config/parser.ts'
import { plainValue } from '../../../../src/toolstack/config/syntax.ts'

const values = (text: string, overrides: string[] = []): Record<string, unknown> =>
  Object.fromEntries(
    [...parseConfig(text, { overrides }).assignments.values()].map((a) => [a.key, plainValue(a.value)]),
  )

function failure(text: string, overrides: string[] = []): XenError {
  try {
    parseConfig(text, { source: 'file', overrides })
  } catch (error) {
    if (XenError.is(error, 'INVALID_CONFIG')) return error
    throw error
  }
  throw new Error('accepted')
}

describe('a description file', () => {
  test.each<[string, Record<string, unknown>]>([
    ['name = "a"', { name: 'a' }],
    ["name='it said \"hi\"'", { name: 'it said "hi"' }],
    ['a=1;b=2 ; c = 3', { a: '1', b: '2', c: '3' }],
    ['a = 0x1F\nb = 017\nc = 0\nd = -1', { a: '0x1F', b: '017', c: '0', d: '-1' }],
    ['# only a comment\n\n  a = 1 # and behind a value', { a: '1' }],
    ['a = []', { a: [] }],
    ['a = [ 1, "two", [ 3, [] ], ]', { a: ['1', 'two', ['3', []]] }],
    ['a = [ # comment\n  "x",\n\n  "y"\n]\r\nb = 1', { a: ['x', 'y'], b: '1' }],
    ['a = 1\na = 2', { a: '2' }],
    ['a = 1\na += 2', { a: '12' }],
    ['a = ["x"]\na += ["y"]', { a: ['x', 'y'] }],
    ['a = "x"\na += "y"', { a: 'xy' }],
    ['a += "x"', { a: 'x' }],
    ['s = "# not a comment; not an end"', { s: '# not a comment; not an end' }],
    ['s = "C:\\\\dir"', { s: 'C:\\dir' }],
    ['s = "say \\"hi\\"\\n"', { s: 'say "hi"\n' }],
    ['s = "\\033[1m"', { s: '[1m' }],
    ['vmid = 3\nname = "vm%d" % vmid', { vmid: '3', name: 'vm3' }],
    ['vmid = 3\nname = "vm%03d-%s 100%%" % (vmid, "x")', { vmid: '3', name: 'vm003-x 100%' }],
    ['a = ["file:/%s.img" % "root"]', { a: ['file:/root.img'] }],
  ])('%j', (text, expected) => {
    expect(values(text)).toEqual(expected)
  })

  test('takes overrides as if they were appended, and bare words as strings', () => {
    expect(
      values('memory = 64\nname = "a"', ['memory=128', 'name=b', 'extra=x y', 'disk=["a"]', 'kernel="/k"']),
    ).toEqual({
      memory: '128',
      name: 'b',
      extra: 'x y',
      disk: ['a'],
      kernel: '/k',
    })
  })

  test('sees the values of overrides in its `%` expressions, and appends them once', () => {
    expect(values('name = "vm%d" % vmid', ['vmid=7', 'disk+=["a"]'])).toEqual({ name: 'vm7', vmid: '7', disk: ['a'] })
  })

  test('notes what is assigned twice, and escapes that give no character', () => {
    const { notes } = parseConfig('disk = ["a"]\nmemory = 1\ndisk = ["b"]\nextra = "x\\033y"', { source: 'f', overrides: ['memory=2'] })
    expect(notes.map(({ key, reason, position }) => [key, reason, position.line, position.column])).toEqual([
      ['disk', 'assigned twice', 3, 1], ['extra', 'no character', 4, 11],
    ])
    expect(notes[0]?.message).toBe('disk is assigned again: what line 1 says does not count')
  })

  test.each([
    ['x = "aaaaaaaaaa"\n' + 'x = "%s%s" % (x, x)\n'.repeat(40)],
    ['x = "a"\ny = "' + '%999d'.repeat(2000) + '" % (' + '1,'.repeat(2000) + ')\n'],
    ['a = "' + 'x'.repeat(2 ** 19) + '"\nb = "%s%s%s" % (a, a, a)'],
  ])('cannot be made to fill memory: %#', (text) => {
    expect(failure(text).message).toMatch(/a text of more than 1048576 characters/)
  })

  test('remembers which names served as variables', () => {
    expect([...parseConfig('vmid = 1\nname = "vm%d" % vmid').variables]).toEqual(['vmid'])
  })

  test.each<[string, number, number, RegExp]>([
    ['fc4: ok', 1, 4, /":" has no meaning/],
    ['name="b\nmemory=64', 1, 6, /not closed on its line/],
    ['memory = 64\ndisk = [ "a",\n "b"', 2, 8, /list is not closed/],
    ['disk = [ "a"', 1, 8, /list is not closed/],
    ['disk = [ "a" "b" ]', 1, 14, /`,` or `\]` expected/],
    ['memory 64', 1, 8, /`=` after memory expected, found `64`/],
    ['memory =', 1, 9, /a string, a number or a list expected, found the end of the text/],
    ['memory = \nname = "a"', 1, 10, /found the end of the line/],
    ['memory = 64 name = "a"', 1, 13, /the end of the line after the value of memory expected/],
    ['memory = 12gh', 1, 10, /12gh is not a number/],
    ['a = "x\\q"', 1, 7, /`\\q` has no meaning in a string/],
    ['a = "x\\x41"', 1, 7, /hexadecimal escapes are refused/],
    ['a = "\\1"', 1, 6, /needs three octal digits/],
    ['a = "x\0"', 1, 7, /zero byte/],
    ['a = 089\nname = "%d" % a', 2, 13, /needs a number/],
    ['memory = 1.5', 1, 10, /1\.5 is not a number/],
    ['= 1', 1, 1, /a key expected/],
    ['def f(x):', 1, 1, /Python code/],
    ['import os', 1, 1, /Python code/],
    ['  if True: pass', 1, 3, /Python code/],
    ['name = "vm%d" % vmid', 1, 17, /vmid has no value yet/],
    ['name = "vm%d" % "x"', 1, 15, /needs a number/],
    ['name = "vm%d%d" % 1', 1, 17, /more conversions than values/],
    ['name = "vm" % 1', 1, 13, /more values than conversions/],
    ['name = "%r" % 1', 1, 13, /conversion `%r` is not supported/],
    ['name = 1 % 1', 1, 10, /formats strings only/],
    ['a = "x"\na += [1]', 2, 1, /a list cannot be added/],
    ['a = __import__("os")', 1, 5, /a string, a number or a list expected/],
    [`a = ${'['.repeat(100)}`, 1, 21, /nest deeper/],
  ])('%j is refused at its place', (text, line, column, message) => {
    const error = failure(text)
    expect([error.details['line'], error.details['column'], error.details['source']]).toEqual([line, column, 'file'])
    expect(error.message).toMatch(message)
    expect(error.message.startsWith(`file:${line}:${column}: `)).toBe(true)
  })

  test('a fault of an override names the override', () => {
    expect(failure('a = 1', ['a=1', 'b=[']).message).toBe('override 2:1:3: this list is not closed')
  })
})
