/** Code that is written and comes back: what is executed is what stands there, and what was decoded once is not decoded again. */
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../../src/machine/index.ts'
import { SeededRandom } from '../../../../../src/util/index.ts'
import { assemble } from '../../../../support/assembler.ts'
import { CODE, CpuBench } from '../../../../support/cpu.ts'

/** A function's page, away from the code that calls it. */
const FUNCTION = CODE + 0x2000
/** The second part of the function, to which the first jumps. */
const BEHIND = FUNCTION + 0x400

const at = (address: number, listing: string): Uint8Array => assemble(listing, { origin: address })
const adding = (number: number): Uint8Array => at(FUNCTION, `add $${number},%rax; jmp ${BEHIND}`)
const ending = (number: number): Uint8Array => at(BEHIND, `add $${number},%rax; int3`)

function bench(accounting: 'instructions' | 'work' = 'instructions'): CpuBench {
  const made = new CpuBench({ accounting })
  made.write(FUNCTION, adding(1))
  made.write(BEHIND, ending(10))
  return made
}

/** Calls the function: what it adds, and what it counted for. */
function call(made: CpuBench): { readonly added: bigint; readonly counted: number } {
  made.set('rax', 0)
  made.jump(FUNCTION)
  let counted = 0
  for (;;) {
    const reason = made.cpu.run(100_000)
    counted += made.cpu.executed
    if (reason !== EXIT.BUDGET) break
  }
  return { added: made.get('rax'), counted }
}

const decoded = (made: CpuBench): number => made.machine.compilerFigures()!.codeBytes

describe('code whose page is written', () => {
  test('beside it is not decoded again', () => {
    const made = bench()
    expect(call(made).added).toBe(11n)
    const bytes = decoded(made)
    for (let value = 0; value < 100; value += 1) {
      made.write(FUNCTION + 0x800, [value])
      expect(call(made).added).toBe(11n)
    }
    expect(decoded(made)).toBe(bytes)
  })

  test('is what stands there, also where the code that leads to it is as it was', () => {
    const made = bench()
    // Twice: the first call links the two.
    expect([call(made).added, call(made).added]).toEqual([11n, 11n])
    made.write(BEHIND, ending(20))
    expect([call(made).added, call(made).added]).toEqual([21n, 21n])
    made.write(FUNCTION, adding(2))
    expect(call(made).added).toBe(22n)
    made.write(BEHIND, ending(10))
    expect(call(made).added).toBe(12n)
    made.write(FUNCTION, adding(1))
    expect([call(made).added, call(made).added]).toEqual([11n, 11n])
  })

  test('is what stands there in any order of writes and calls', () => {
    const made = bench()
    const random = new SeededRandom(7)
    const [first, second] = [1, 10]
    const parts = [first, second]
    for (let step = 0; step < 2000; step += 1) {
      const part = random.next() % 2
      parts[part] = 1 + (random.next() % 3)
      if (part === 0) made.write(FUNCTION, adding(parts[0]!))
      else made.write(BEHIND, ending(parts[1]!))
      if (random.next() % 3 > 0) expect(call(made).added).toBe(BigInt(parts[0]! + parts[1]!))
    }
  })

  test('counts for the same work when it comes back as when it is decoded', () => {
    const [again, anew] = [bench('work'), bench('work')]
    call(again)
    call(anew)
    again.write(FUNCTION + 0x800, [1])
    // Another instruction of the same length and price: this one is decoded.
    anew.write(FUNCTION, adding(3))
    anew.write(BEHIND, ending(30))
    const { counted } = call(again)
    expect(call(anew).counted).toBe(counted)
    expect(call(again).counted).toBeLessThan(counted)
  })

  test('asks whether to stop where it is to, though it is as it was', () => {
    const made = bench()
    call(made)
    made.write(FUNCTION + 0x800, [1])
    const asked: number[] = []
    const trace = made.cpu.trace({ breakpoints: new Set([BEHIND]), breakpoint: ({ address }) => void asked.push(address) })
    expect(call(made).added).toBe(11n)
    trace.stop()
    expect(asked).toEqual([BEHIND])
  })
})
