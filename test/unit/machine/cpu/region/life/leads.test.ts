/** When a region is made anew for where it has been left for, and what is known then. */
import { describe, expect, test } from 'vitest'
import { traceLength } from '../../../../../../src/machine/cpu/region/life/block-trace.ts'
import { SeenLeads } from '../../../../../../src/machine/cpu/region/life/leads.ts'

const BLOCK = 64

describe('leads', () => {
  test('have a region made anew after some samples, then after twice as many, some times at most', () => {
    const leads = new SeenLeads()
    const due: number[] = []
    for (let count = 1; count < 100_000; count += 1) if (leads.note(BLOCK, { from: 1, to: 2 }, 6)) due.push(count)
    expect(due.slice(0, 3)).toEqual([6, 18, 42])
    expect(due.length).toBe(4)
  })

  test('are those of a jump, the most frequent first; what is rare is left out', () => {
    const leads = new SeenLeads()
    const note = (to: number, times: number): void => {
      for (let i = 0; i < times; i += 1) leads.note(BLOCK, { from: 1, to }, 6)
    }
    note(10, 1)
    note(20, 30)
    note(30, 40)
    expect(leads.of(1)).toEqual([30, 20])
    expect([leads.of(2), leads.isLed(10), leads.isLed(11)]).toEqual([[], true, false])
  })

  test('are limited however many addresses there are, and forgotten with decoded code', () => {
    const leads = new SeenLeads()
    for (let i = 0; i < 10_000; i += 1) leads.note(BLOCK, { from: 1, to: 100 + i }, 6)
    for (let i = 0; i < 10_000; i += 1) leads.note(BLOCK, { from: 200 + i, to: 100 }, 6)
    expect([leads.of(10_199), leads.isLed(10_099)]).toEqual([[], false])
    leads.clear()
    expect([leads.of(200), leads.isLed(100)]).toEqual([[], false])
  })

  test('that are known while code is written are no jump\'s', () => {
    const leads = new SeenLeads()
    leads.note(BLOCK, { from: 7, to: 7 }, 6)
    expect([leads.of(7), leads.isLed(7)]).toEqual([[], true])
  })
})

describe('a processor is followed', () => {
  test('for no more than it took for the place to be hot', () => {
    expect([traceLength(10), traceLength(640), traceLength(300_000)]).toEqual([0, 10, 256])
  })
})
