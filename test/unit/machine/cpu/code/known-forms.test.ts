/**
 * Instructions of a form that has been met before are written without decoder and lifter. What is written has to be what these make: every form of
 * instruction, with several displacements and immediates behind the same bytes, is written so and compared with what decoding all of it anew gives.
 */
import { describe, expect, test } from 'vitest'
import { DECODED, Decoder } from '../../../../../src/machine/cpu/decode/decoder.ts'
import { decodeMaps } from '../../../../../src/machine/cpu/decode/maps.ts'
import { MODE } from '../../../../../src/machine/cpu/layout/state.ts'
import { SeededRandom, below, type Random } from '../../../../../src/util/index.ts'
import { drawInstruction } from '../../../../oracle/encode.ts'
import { COMPARED_LEVEL, allForms } from '../../../../oracle/forms.ts'
import { FLAT_MODE, LONG_MODE } from '../../../../oracle/segments.ts'
import { buildMutant, type Patch } from '../../../../support/mutants.ts'

const ENTRY = `
  export { CodeCache } from './src/machine/cpu/code/code-cache.ts'
  export { KnownForms } from './src/machine/cpu/code/known-forms.ts'
  export { HANDLER_NUMBERS } from './src/machine/cpu/handlers/table.ts'
  export { inspectCode } from './src/machine/cpu/inspection/inspection.ts'
  export { microTable } from './src/machine/cpu/interpreter/compiled.ts'
  export { MachineMemory } from './src/machine/memory/machine-memory.ts'
`
interface Parts {
  readonly CodeCache: typeof import('../../../../../src/machine/cpu/code/code-cache.ts').CodeCache
  readonly KnownForms: typeof import('../../../../../src/machine/cpu/code/known-forms.ts').KnownForms
  readonly HANDLER_NUMBERS: typeof import('../../../../../src/machine/cpu/handlers/table.ts').HANDLER_NUMBERS
  readonly inspectCode: typeof import('../../../../../src/machine/cpu/inspection/inspection.ts').inspectCode
  readonly microTable: typeof import('../../../../../src/machine/cpu/interpreter/compiled.ts').microTable
  readonly MachineMemory: typeof import('../../../../../src/machine/memory/machine-memory.ts').MachineMemory
}

const FORMS_FILE = 'src/machine/cpu/code/known-forms.ts'
const PAGE = 4096
/** Instructions that begin with the same bytes. */
const ALIKE = 4
const EDGES = [0, 1, 4, 0x1f, 0x20, 0x40, 0x7f, 0x80, 0xff]

/** The same instruction with other numbers behind its first bytes. */
function withOtherNumbers(random: Random, code: readonly number[], head: number): number[] {
  const edge = EDGES[below(random, EDGES.length)]!
  const isEven = below(random, 2) === 0
  return code.map((byte, at) => (at < head ? byte : isEven ? edge : below(random, 256)))
}

/** Code with instructions of all forms or of a part of them, in any order, each a few times with other numbers. */
function* instructions(code: 64 | 32, random: Random, oneIn: number): Generator<readonly number[]> {
  const mode = code === 64 ? LONG_MODE : FLAT_MODE
  const decoder = new Decoder(decodeMaps(code === 64 ? 'long' : 'short', COMPARED_LEVEL), code)
  const drawn: (readonly number[])[] = []
  for (const form of allForms(code).filter((_, number) => number % oneIn === 0)) {
    const { bytes } = drawInstruction(random, form, { rip: 0, mode })
    if (decoder.decode(Uint8Array.of(...bytes, ...new Uint8Array(15)), 0, bytes.length + 15) !== DECODED.OK) continue
    const [head, length] = [decoder.headEnd, decoder.instruction.length]
    for (let i = 0; i < ALIKE; i += 1) drawn.push(withOtherNumbers(random, bytes.slice(0, length), head))
  }
  for (let left = drawn.length; left > 0; left -= 1) {
    const at = below(random, left)
    yield drawn[at]!
    // Behind a comparison a conditional jump makes a pair.
    if (left % 4 === 0) yield* [[0x48, 0x39, 0xc0 | below(random, 64)], [0x70 | below(random, 16), below(random, 256)]]
    drawn[at] = drawn[left - 1]!
  }
}

interface Code {
  readonly modes: readonly number[]
  readonly seed: number
  readonly oneIn?: number
}

/** Decodes such code in those modes, in turn: how many instructions were written by a form, and faults. */
function run(parts: Parts, { modes, seed, oneIn = 1 }: Code): { readonly known: number; readonly faults: readonly string[] } {
  const memory = new parts.MachineMemory(24 << 20, 1)
  const code = new parts.CodeCache(memory, parts.microTable(), { handlers: { numbers: parts.HANDLER_NUMBERS }, level: COMPARED_LEVEL })
  let known = 0
  const { write } = parts.KnownForms.prototype
  parts.KnownForms.prototype.write = function counted(lifter, from, limit) {
    const { count } = lifter
    const to = write.call(this, lifter, from, limit)
    known += lifter.count - count
    return to
  }
  const starts: number[] = []
  let host = memory.firstFrame * PAGE
  for (const bytes of instructions(modes[0] === MODE.CODE64 ? 64 : 32, new SeededRandom(seed), oneIn)) {
    memory.bytes.set(bytes, host)
    starts.push(host)
    host += bytes.length
  }
  for (const [number, start] of starts.entries()) {
    code.decode({ host: start, mode: modes[number % modes.length]!, rip: start, nextPage: () => start - (start % PAGE) + PAGE })
  }
  parts.KnownForms.prototype.write = write
  return { known, faults: parts.inspectCode(memory, code).faults.map(({ what }) => what) }
}

const build = (...patches: Patch[]): Promise<Parts> => buildMutant<Parts>(patches, ENTRY)
const fault = (find: string, replace: string): Patch => ({ file: FORMS_FILE, find, replace })

describe('instructions of a known form', { timeout: 60_000 }, () => {
  test('become what decoder and lifter make of them', async () => {
    const { known, faults } = run(await build(), { modes: [MODE.CODE64], seed: 1 })
    expect(faults).toEqual([])
    expect(known).toBeGreaterThan(50_000)
  })

  test('also where a kernel has vector instructions refused now and then, and in 32-bit code', async () => {
    const parts = await build()
    expect(run(parts, { modes: [MODE.CODE64, MODE.CODE64 | MODE.SWITCHED, MODE.CODE64 | MODE.NO_SSE], seed: 2 }).faults).toEqual([])
    expect(run(parts, { modes: [MODE.CODE32, MODE.CODE32 | MODE.NO_AVX], seed: 3 }).faults).toEqual([])
  })

  test('and when there are more forms than there is room for', async () => {
    const parts = await build(fault('const MOST_UNITS = 0x7fff', 'const MOST_UNITS = 100'), fault('const MOST_NODES = 0x2000', 'const MOST_NODES = 50'))
    const { known, faults } = run(parts, { modes: [MODE.CODE64], seed: 4, oneIn: 5 })
    expect(faults).toEqual([])
    expect(known).toBeGreaterThan(100)
  })

  test.each([
    ['an address relative to the instruction forgets its length', fault('value += (host & (PAGE_SIZE - 1)) + (head & 15)', 'value += host & (PAGE_SIZE - 1)')],
    ['a byte without a sign is given one', fault('this.makers.decoder.isUnsigned ? 1 << HEAD.unsigned : 0', '0')],
    ['what refuses vector instructions is forgotten', fault('lifter.looksAtMode ? lifter.mode : -1', '-1')],
    ['records that make a pair are left alone', fault('lifter.pair(numbers & 0xffff)', '')],
    ['a number that the lifter has looked at is taken for one that it passes on', fault('(immediate > 0 && (looked & LOOKED.IMMEDIATE) !== 0)', 'false')],
    ['a form of another mode is taken for a part of one', fault('if (node !== 0 && node < FORM) continue', 'if (node !== 0) continue')],
    ['the end of a block is missed', fault('lifter.ended ? 1 << HEAD.ended : 0', '0')],
  ])('a planted fault is found: %s', async (_, patch) => {
    expect(run(await build(patch), { modes: [MODE.CODE64, MODE.CODE64 | MODE.SWITCHED], seed: 5, oneIn: 5 }).faults.length).toBeGreaterThan(0)
  })
})
