/** What a guest in TypeScript does first, of several things that are ready at one instant: a choice of exploring as who runs is. */
import { beforeAll, describe, expect, test } from 'vitest'
import type { GuestProgram } from '../../../../src/index.ts'
import { explore, Replay, scenario, type Scenario } from '../../../../src/testing/index.ts'
import type { Host, Moment } from '../../../../src/toolstack/index.ts'
import { emptyHost } from '../../../support/explore/counter.ts'

let from: Moment<Host>
beforeAll(async () => { from = await emptyHost() })

/** Runs a program that says in the end what it found, and wants that to be right. */
const saying = (name: string, kernel: GuestProgram): Scenario => scenario({
  name, body: async ({ host, always, seed }) => {
    const domain = await host.createDomain({ name: 'guest', memory: 4, kernel })
    const [, said] = await domain.console.waitFor(/said (.*)\n/)
    always(said === 'right', 'what it uses is there', { said, seed })
  },
})

/** Takes for granted that ports are told of in the order of their numbers. */
const ports: GuestProgram = (kernel) => {
  const { events } = kernel
  let isOpen = false
  const opens = events.bindIpi(() => { isOpen = true })
  const uses = events.bindIpi(() => kernel.console!.log(`said ${isOpen ? 'right' : 'wrong'}`))
  kernel.after('1ms', () => {
    events.notify(opens)
    events.notify(uses)
  })
}

/** Takes for granted that a handler runs before what another one has resolved goes on. */
const promises: GuestProgram = (kernel) => {
  const { events } = kernel
  let isThere = false
  const resolves = events.bindIpi()
  const handles = events.bindIpi(() => { isThere = true })
  void events.next(resolves).then(() => kernel.console!.log(`said ${isThere ? 'right' : 'wrong'}`))
  kernel.after('1ms', () => {
    events.notify(resolves)
    events.notify(handles)
  })
}

describe('the order of what is ready in a guest in TypeScript', { timeout: 60_000 }, () => {
  test.each([['ports', ports], ['promises', promises]] as const)('of %s is explored, narrowed and made again', async (name, program) => {
    const test = saying(name, program)
    const found = await explore(test, { from, runs: 40 })
    const { plan, narrowed, replay } = found.failure!
    expect(plan.index).toBeGreaterThan(0)
    expect(narrowed!.failing.marked).toMatchObject({ what: 'order', text: expect.stringMatching(/^domain 1 does the second of \d things that are ready first$/) })
    expect(narrowed!.passing!.failure).toBeUndefined()
    expect(await Replay.read(replay!.encode()).run({ ...test, from })).toMatchObject({ same: true, failure: { kind: 'property' } })
  })

  test.each([['random'], ['pct'], ['perturb']] as const)('is drawn by %s', async (strategy) => {
    const found = await explore(saying('ports', ports), { from, runs: 64, strategy, narrow: false })
    expect(found.passed).toBe(false)
  })
})
