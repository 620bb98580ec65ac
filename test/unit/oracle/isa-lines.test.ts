import { expect, test } from 'vitest'
import { codeLines, isaLines } from '../../oracle/isa-lines.ts'

test('lines of code are counted without comments and blanks', () => {
  expect(codeLines('/** A doc\n * comment. */\nconst a = 1 // here\n\n// not this\n/* nor this */\nconst b = 2\n')).toBe(2)
})

test('the instruction set is described by thousands of lines, not by tens of thousands', () => {
  const [total, ...parts] = (isaLines().match(/\d+/g) ?? []).map(Number)
  expect(total).toBe(parts.slice(0, 5).reduce((sum, lines) => sum + lines, 0))
  expect(total).toBeGreaterThan(5000)
  expect(total).toBeLessThan(12_000)
})
