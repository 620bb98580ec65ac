import { describe, expect, test } from 'vitest'
import { DOMID, ERRNO } from '../../../../src/abi/index.ts'
import { CHANNEL } from '../../../../src/hypervisor/events/index.ts'
import { SeededRandom, below, domId } from '../../../../src/util/index.ts'
import { EventHostDouble } from '../../../support/event-host.ts'

const PAGE = 4096

/** One operation of domain 0, 1 or 2 with arguments near valid ones; its result. */
function tryAnything(host: EventHostDouble, random: SeededRandom): number {
  const { channels } = host
  const caller = domId(below(random, 3))
  const pick = (...values: number[]): number => values[below(random, values.length)]!
  const domid = pick(0, 1, 2, DOMID.SELF, 7)
  const port = pick(below(random, 24), below(random, 24), below(random, 200), 0xffffffff)
  const vcpu = below(random, 3)
  switch (below(random, 14)) {
    case 0: case 1: return channels.allocUnbound(caller, domid, pick(0, 1, 2, DOMID.SELF))
    case 2: case 3: return channels.bindInterdomain(caller, domid, port)
    case 4: return channels.bindVirq(caller, below(random, 26), vcpu)
    case 5: return channels.bindIpi(caller, vcpu)
    case 6: return channels.close(caller, port)
    case 7: return channels.send(caller, port)
    case 8: return channels.unmask(caller, port)
    case 9: return channels.bindVcpu(caller, port, vcpu)
    case 10: return channels.initControl(caller, vcpu, 40 + below(random, 40), pick(0, 8, 64, 4, 4090))
    case 11: return channels.expandArray(caller, 40 + below(random, 500))
    case 12: return channels.setPriority(caller, port, below(random, 20))
    default: return below(random, 20) === 0 ? channels.reset(caller, domid, () => true) : 0
  }
}

describe('whatever guests try', () => {
  test.each([1, 2, 3])('both ends of every channel agree, and counts are right (seed %i)', (seed) => {
    const host = new EventHostDouble()
    const random = new SeededRandom(seed)
    const domains = [0, 1, 2].map((id) => host.domain(id, { maxPort: 60 + id * 40 }))
    const results = new Map<number, number>()
    for (let step = 0; step < 20_000; step += 1) {
      const result = Math.min(tryAnything(host, random), 1)
      results.set(result, (results.get(result) ?? 0) + 1)
      // Guests scribble over what they share.
      for (const { sharedInfo } of domains) {
        host.memory.view.setUint8(sharedInfo + below(random, PAGE), random.next() & 0xff)
      }
      if (step % 100 !== 0) continue
      host.channels.check()
      for (const { events } of domains) {
        const bound = [...events.ports.bound()]
        expect(events.activeCount).toBe(bound.length)
        expect(bound.every(({ state }) => state > CHANNEL.reserved)).toBe(true)
      }
    }
    expect(results.get(1)).toBeGreaterThan(300)
    for (const error of [ERRNO.EINVAL, ERRNO.ENOENT, ERRNO.EEXIST, ERRNO.ESRCH, ERRNO.EPERM, ERRNO.ENOSPC]) {
      expect(results.has(-error)).toBe(true)
    }
    for (const id of [1, 0, 2]) host.channels.removeDomain(domId(id))
    expect(host.held).toEqual([])
  })
})
