/** Hints of rarely taken branches stand in a section of their own, and lead to the branches. */
import { expect, test } from 'vitest'
import { ModuleWriter } from '../../../src/wasm/index.ts'
import type { OwnBytes } from '../../../src/util/index.ts'

/** Opcodes of the two branches. */
const [PLAIN_IF, PLAIN_BR_IF] = [0x04, 0x0d]

/** (n) -> 1 unless n is 0; an import and a first function come before it. */
function withHint(): { bytes: OwnBytes; index: number } {
  const module = new ModuleWriter()
  module.importFunction('env', 'nothing', [], [])
  module.function([], [])
  const { index, code } = module.function(['i32'], ['i32'])
  const more = [code.local('i64'), code.local('i32')]
  code.i64(1, 2)
  code.set(more[0]!)
  code.get(0)
  code.op('i32.eqz')
  code.unlikely()
  code.if()
  code.i32(0)
  code.op('return')
  code.end()
  const out = code.block()
  code.get(0)
  code.unlikely()
  code.brIf(out)
  code.end()
  code.i32(1)
  module.export('test', index)
  return { bytes: module.finish(), index }
}

const unsigned = (bytes: Uint8Array, at: number): [value: number, next: number] => {
  let [value, shift] = [0, 0]
  for (;;) {
    const byte = bytes[at++]!
    value |= (byte & 0x7f) << shift
    shift += 7
    if (byte < 0x80) return [value, at]
  }
}

test('a hint names its function and the byte of its branch behind the locals', () => {
  const { bytes, index } = withHint()
  const module = new WebAssembly.Module(bytes)
  const hints = new Uint8Array(WebAssembly.Module.customSections(module, 'metadata.code.branch_hint')[0]!)
  const numbers: number[] = []
  for (let at = 0, value = 0; at < hints.length;) {
    [value, at] = unsigned(hints, at)
    numbers.push(value)
  }
  const [functions, named, count, first, firstSize, firstHint, second, secondSize, secondHint] = numbers
  expect([functions, named, count, firstSize, firstHint, secondSize, secondHint]).toEqual([1, index, 2, 1, 0, 1, 0])
  // The function is the last thing in the module: its size, two runs of locals, its instructions.
  const start = Array.from(bytes.keys()).reverse().find((at) => bytes[at - 1] === bytes.length - at && bytes[at] === 2)!
  expect([bytes[start + first!], bytes[start + second!]]).toEqual([PLAIN_IF, PLAIN_BR_IF])
  const { exports } = new WebAssembly.Instance(module, { env: { nothing: () => {} } })
  const run = exports['test'] as (n: number) => number
  expect([run(0), run(5)]).toEqual([0, 1])
})

test('a module without hints has no such section', () => {
  const module = new ModuleWriter()
  module.function([], [])
  expect(WebAssembly.Module.customSections(new WebAssembly.Module(module.finish()), 'metadata.code.branch_hint')).toEqual([])
})
