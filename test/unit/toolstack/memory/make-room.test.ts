/** Making room, against guests that give memory up at once, lag, or refuse: no host is needed for that. */
import { describe, expect, test } from 'vitest'
import { makeRoom, type RoomHost } from '../../../../src/toolstack/memory/make-room.ts'
import { balloonDom0, type MemoryPolicy, type MemoryView } from '../../../../src/toolstack/memory/memory-policy.ts'

/** A guest gives up to so many MiB in the time that it is waited for. */
interface Guest {
  memory: number
  target: number
  readonly pace: number
}

class Simulation implements RoomHost {
  readonly total = 256
  readonly waits: number[] = []
  private readonly guests: readonly Guest[]
  constructor(guests: readonly Guest[]) { this.guests = guests }

  get free(): number {
    return this.total - this.guests.reduce((sum, { memory }) => sum + memory, 0)
  }
  view() {
    const domains = this.guests.map(({ memory, target }, domid) => ({ domid, name: `d${domid}`, memory, target, maximum: 256 }))
    return { total: this.total, free: this.free, claimed: 0, domains }
  }
  setTarget(domid: number, mebibytes: number): void { this.guests[domid]!.target = mebibytes }
  async wait(met: () => boolean): Promise<boolean> {
    for (const guest of this.guests) guest.memory = Math.max(Math.min(guest.memory, guest.target), guest.memory - guest.pace)
    this.waits.push(this.free)
    return met()
  }
}

const guest = (memory: number, pace: number): Guest => ({ memory, target: memory, pace })
const room = async (guests: readonly Guest[], needed: number, policy: MemoryPolicy = balloonDom0()) => {
  const host = new Simulation(guests)
  const steps: (() => void)[] = []
  const isThere = await makeRoom(host, needed, { policy, undo: (step) => steps.push(step) })
  return { isThere, host, undo: () => steps.forEach((step) => step()) }
}

describe('dom0 gives up what is missing', () => {
  test('at once, and no more', async () => {
    const dom0 = guest(200, 256)
    expect((await room([dom0], 100)).isThere).toBe(true)
    expect(dom0.target).toBe(156)
  })
  test('and keeps the least that it is to have; then nothing has changed', async () => {
    const dom0 = guest(200, 256)
    expect((await room([dom0], 241)).isThere).toBe(false)
    expect(dom0.target).toBe(200)
    expect((await room([guest(200, 256)], 250, balloonDom0({ least: 4 }))).isThere).toBe(true)
  })
  test('by and by, where it lags', async () => {
    const { isThere, host } = await room([guest(200, 20)], 100)
    expect([isThere, host.waits]).toEqual([true, [76, 96, 100]])
  })
  test('or refuses: its target is back', async () => {
    const dom0 = guest(200, 0)
    const { isThere, host } = await room([dom0], 100)
    expect([isThere, dom0.target, host.waits]).toEqual([false, 200, [56]])
  })
  test('and gets it back when what needed the room fails, unless somebody has set another target since', async () => {
    const dom0 = guest(200, 256)
    const made = await room([dom0], 100)
    made.undo()
    expect(dom0.target).toBe(200)
    const again = await room([guest(200, 256)], 100)
    again.host.setTarget(0, 120)
    again.undo()
    expect(again.host.view().domains[0]!.target).toBe(120)
  })
})

test('a policy of one\'s own asks the next guest where one refuses', async () => {
  const seen: boolean[][] = []
  const greedy: MemoryPolicy = ({ free, needed, domains }: MemoryView) => {
    seen.push(domains.map(({ refused }) => refused))
    const willing = domains.filter(({ domid, refused }) => domid !== 0 && !refused)
    return willing.slice(0, 1).map(({ domid, memory }) => ({ domid, mebibytes: Math.max(1, memory - (needed - free)) }))
  }
  const guests = [guest(64, 0), guest(64, 0), guest(100, 256)]
  expect((await room(guests, 60, greedy)).isThere).toBe(true)
  expect(seen).toEqual([[false, false, false], [false, true, false]])
  expect(guests.map(({ target }) => target)).toEqual([64, 32, 68])
})

test.each([[[{ domid: 9, mebibytes: 4 }]], [[{ domid: 0, mebibytes: 1.5 }]], ['all']])('a policy that answers %j is refused', async (answer) => {
  await expect(room([guest(200, 0)], 100, () => answer as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
