import { describe, expect, test } from 'vitest'
import { Timers } from '../../../src/guest/timers.ts'
import { ManualClock, SeededRandom, below } from '../../../src/util/index.ts'

function setUp() {
  const clock = new ManualClock()
  const programmed: number[] = []
  const timers = new Timers(() => clock.now(), (deadline) => programmed.push(deadline))
  const fired: string[] = []
  const fireAll = (): void => {
    for (let handler = timers.takeDue(); handler !== undefined; handler = timers.takeDue()) handler()
  }
  return { clock, programmed, timers, fired, fireAll }
}

describe('timers of a guest', () => {
  test('fire in the order of their deadlines, and of their age where deadlines are equal', () => {
    const { clock, timers, fired, fireAll } = setUp()
    for (const [delay, name] of [[30, 'c'], [10, 'a1'], [20, 'b'], [10, 'a2'], [10, 'a3']] as const) {
      timers.after(delay, () => fired.push(name))
    }
    fireAll()
    expect(fired).toEqual([])
    clock.advance(20)
    fireAll()
    expect(fired).toEqual(['a1', 'a2', 'a3', 'b'])
    clock.advance(10)
    fireAll()
    expect(fired).toEqual(['a1', 'a2', 'a3', 'b', 'c'])
  })

  test('keep the hypervisor timer at the earliest deadline and set it no oftener than that changes', () => {
    const { clock, programmed, timers, fireAll } = setUp()
    timers.after(100, () => undefined)
    const early = timers.after(50, () => undefined)
    timers.after(200, () => undefined)
    early.cancel()
    expect(programmed).toEqual([100, 50, 100])
    clock.advance(100)
    fireAll()
    expect(programmed).toEqual([100, 50, 100, 200])
    clock.advance(100)
    fireAll()
    expect(programmed).toEqual([100, 50, 100, 200])
  })

  test('a cancelled timer never fires, and cancelling the last one turns the hypervisor timer off', () => {
    const { clock, programmed, timers, fired, fireAll } = setUp()
    const timer = timers.after(10, () => fired.push('no'))
    timer.cancel()
    clock.advance(100)
    fireAll()
    expect(fired).toEqual([])
    expect(programmed).toEqual([10, 0])
  })

  test('a thousand random timers, some cancelled, fire sorted', () => {
    const { clock, timers, fireAll } = setUp()
    const random = new SeededRandom(7)
    const fired: number[] = []
    const expected: number[] = []
    for (let i = 0; i < 1000; i += 1) {
      const delay = below(random, 500)
      const timer = timers.after(delay, () => fired.push(delay))
      if (below(random, 4) === 0) timer.cancel()
      else expected.push(delay)
    }
    for (let i = 0; i < 50; i += 1) {
      clock.advance(10)
      fireAll()
    }
    expect(fired).toEqual(expected.sort((a, b) => a - b))
  })
})
