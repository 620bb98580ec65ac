/** Our own structures beside the plainest models of them, by fast-check: what differs is shrunk to the shortest sequence. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TimerQueue } from '../../../src/hypervisor/time/index.ts'
import { Network } from '../../../src/testing/simulate/network.ts'
import { parseDuration, type DurationParts } from '../../../src/util/index.ts'

test('timers fire in the order of their deadlines, equals in the order in which they were set', () => {
  const step = fc.record({ timer: fc.nat(7), what: fc.constantFrom('set', 'stop', 'run'), time: fc.nat(100) })
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const queue = new TimerQueue()
    const fired: number[] = []
    const timers = Array.from({ length: 8 }, (_, number) => queue.create(() => fired.push(number)))
    let model: { readonly timer: number; readonly time: number; readonly order: number }[] = []
    const expected: number[] = []
    steps.forEach(({ timer, what, time }, order) => {
      if (what === 'run') {
        queue.run(time)
        const due = model.filter((one) => one.time <= time).sort((a, b) => a.time - b.time || a.order - b.order)
        expected.push(...due.map((one) => one.timer))
        model = model.filter((one) => !due.includes(one))
        return
      }
      model = model.filter((one) => one.timer !== timer)
      if (what === 'set') {
        queue.set(timers[timer]!, time)
        model.push({ timer, time, order })
      } else queue.stop(timers[timer]!)
    })
    expect(fired).toEqual(expected)
    expect(queue.size).toBe(model.length)
    expect(queue.next).toBe(Math.min(Infinity, ...model.map(({ time }) => time)))
  }))
})

test('a length of time is the same as a text and by its parts', () => {
  const units: Readonly<Record<keyof DurationParts, string>> = {
    days: 'd', hours: 'h', minutes: 'm', seconds: 's', milliseconds: 'ms', microseconds: 'us', nanoseconds: 'ns',
  }
  const parts = fc.record(Object.fromEntries(Object.keys(units).map((name) => [name, fc.nat(10)])) as { [K in keyof DurationParts]-?: fc.Arbitrary<number> }, { requiredKeys: [] })
  fc.assert(fc.property(parts.filter((given) => Object.keys(given).length > 0), (given) => {
    const text = Object.entries(given).map(([name, count]) => `${count}${units[name as keyof DurationParts]}`).join(' ')
    expect(parseDuration(text, 'it')).toBe(parseDuration(given, 'it'))
  }))
})

test('no frame of a network arrives early, twice, or on a link that was cut when it left', () => {
  const step = fc.oneof(
    fc.record({ what: fc.constant('send' as const), from: fc.nat(2) }), fc.record({ what: fc.constant('cut' as const), pair: fc.nat(2) }),
    fc.record({ what: fc.constant('heal' as const), pair: fc.nat(2) }), fc.record({ what: fc.constant('pass' as const), time: fc.nat(5_000_000) }),
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 50 }), fc.nat(1000), (steps, seed) => {
    const names = ['a', 'b', 'c'] as const
    const pairs = [['a', 'b'], ['a', 'c'], ['b', 'c']] as const
    const network = new Network(names, { latency: '1ms', jitter: '2ms' }, seed)
    const heals = new Map<number, () => void>()
    let now = 0
    let number = 0
    const expected = new Map<string, number>()
    const take = (until: number): void => {
      for (const to of names) {
        for (const { time, bytes } of network.take(to, until)) {
          const key = `${bytes[0]} to ${to}`
          expect(time - expected.get(key)!).toBeGreaterThanOrEqual(1_000_000)
          expect(time - expected.get(key)!).toBeLessThanOrEqual(3_000_000)
          expect(expected.delete(key)).toBe(true)
        }
      }
    }
    for (const one of steps) {
      if (one.what === 'pass') take(now += one.time)
      else if (one.what === 'cut') heals.set(one.pair, heals.get(one.pair) ?? network.cut([pairs[one.pair]![0]], [pairs[one.pair]![1]]))
      else if (one.what === 'heal') {
        heals.get(one.pair)?.()
        heals.delete(one.pair)
      } else {
        const from = names[one.from]!
        network.send(from, now, Uint8Array.of(number))
        const isOn = (pair: number, name: string): boolean => (pairs[pair] as readonly string[]).includes(name)
        const isCut = (to: string): boolean => [...heals.keys()].some((pair) => isOn(pair, from) && isOn(pair, to))
        for (const to of names) if (to !== from && !isCut(to)) expected.set(`${number} to ${to}`, now)
        number += 1
      }
    }
    take(Infinity)
    expect(expected.size).toBe(0)
  }))
})
