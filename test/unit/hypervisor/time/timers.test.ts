import { describe, expect, test } from 'vitest'
import { ERRNO } from '../../../../src/abi/index.ts'
import { DomainWatchdogs, TimerQueue, VcpuTimers } from '../../../../src/hypervisor/time/index.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'

const MS = 1_000_000

describe('the timer queue', () => {
  test('timers fire in order of deadline, equal ones in the order in which they were set', () => {
    const queue = new TimerQueue()
    const fired: string[] = []
    const timer = (name: string, deadline: number) => queue.set(queue.create(() => fired.push(name)), deadline)
    timer('late', 30)
    timer('first at 10', 10)
    timer('second at 10', 10)
    timer('early', 5)
    expect(queue.next).toBe(5)
    expect(queue.run(10)).toBe(3)
    expect(fired).toEqual(['early', 'first at 10', 'second at 10'])
    expect(queue.next).toBe(30)
  })

  test('against a sorted list, over random setting and stopping', () => {
    const random = new SeededRandom(3)
    const queue = new TimerQueue()
    const fired: number[] = []
    const timers = Array.from({ length: 50 }, (_, i) => queue.create(() => fired.push(i)))
    const model = new Map<number, { deadline: number; order: number }>()
    let order = 0
    for (let now = 0; now < 2000; now += 1) {
      const i = below(random, 50)
      if (below(random, 4) === 0) {
        queue.stop(timers[i]!)
        model.delete(i)
      } else {
        const deadline = now + below(random, 40)
        queue.set(timers[i]!, deadline)
        order += 1
        model.set(i, { deadline, order })
      }
      const due = [...model].filter(([, t]) => t.deadline <= now)
        .sort(([, a], [, b]) => a.deadline - b.deadline || a.order - b.order).map(([id]) => id)
      due.forEach((id) => model.delete(id))
      fired.length = 0
      queue.run(now)
      expect(fired).toEqual(due)
      expect(queue.size).toBe(model.size)
      expect(queue.next).toBe(Math.min(Infinity, ...[...model.values()].map((t) => t.deadline)))
    }
  })

  test('a timer may set itself again while it fires', () => {
    const queue = new TimerQueue()
    let count = 0
    const timer = queue.create((now) => {
      count += 1
      if (count < 3) queue.set(timer, now)
    })
    queue.set(timer, 1)
    expect(queue.run(1)).toBe(3)
    expect(timer.deadline).toBe(-1)
  })

  test('saved timers fire in the same order again', () => {
    const build = () => {
      const queue = new TimerQueue()
      const fired: string[] = []
      const timers = ['a', 'b', 'c'].map((name) => queue.create(() => fired.push(name)))
      return { queue, fired, timers }
    }
    const one = build()
    ;[2, 0, 1].forEach((i) => one.queue.set(one.timers[i]!, 7))
    one.queue.stop(one.timers[0]!)
    const two = build()
    two.queue.load(one.queue.save())
    one.timers.forEach((timer, i) => two.timers[i]!.load(timer.save()))
    two.queue.set(two.timers[0]!, 7)
    two.queue.run(7)
    expect(two.fired).toEqual(['c', 'b', 'a'])
  })
})

function vcpuTimers() {
  const queue = new TimerQueue()
  const log: string[] = []
  const timers = new VcpuTimers(queue, { raiseTimer: () => log.push('timer'), pollTimedOut: () => log.push('poll') })
  const at = (now: number): string[] => {
    queue.run(now)
    return log.splice(0)
  }
  return { queue, timers, log, at }
}

describe("a vCPU's timers", () => {
  test.each([
    ['a deadline ahead', 500, 500],
    ['a deadline behind: due at once', 5, 5],
    ['2^50 ns ahead less one: taken as it is', 100 + 2 ** 50 - 1, 100 + 2 ** 50 - 1],
    ['2^50 ns ahead: 100 ms', 100 + 2 ** 50, 100 + 100 * MS],
    ['wrapped negative: 100 ms', -1, 100 + 100 * MS],
    ['0: none', 0, -1],
  ])('set_timer_op with %s', (_name, deadline, expected) => {
    const { timers } = vcpuTimers()
    expect(timers.setTimerOp(deadline, 100)).toBe(0)
    expect(timers.oneShotDeadline).toBe(expected)
  })

  test('set_timer_op and the single-shot timer are one timer', () => {
    const { timers, at } = vcpuTimers()
    timers.setTimerOp(500, 0)
    timers.setOneShot(800, 0)
    expect(at(600)).toEqual([])
    expect(at(800)).toEqual(['timer'])
    timers.setTimerOp(900, 800)
    timers.stopOneShot()
    expect(at(1000)).toEqual([])
  })

  test('a single-shot deadline that has passed raises the event at once and stops the timer', () => {
    const { timers, log, queue } = vcpuTimers()
    timers.setOneShot(900, 100)
    expect(timers.setOneShot(99, 100)).toBe(0)
    expect(log).toEqual(['timer'])
    expect(queue.size).toBe(0)
  })

  test('a deadline beyond 2^63 is negative to Xen, and due at once', () => {
    const { timers, at } = vcpuTimers()
    timers.setOneShot(2 ** 64 - 2048, 100)
    timers.startPoll(2 ** 63)
    expect(at(100)).toEqual(['timer', 'poll'])
  })

  test('the periodic timer ticks while the vCPU runs and catches up once when it is switched in', () => {
    const { timers, at, log } = vcpuTimers()
    timers.switchIn(0)
    expect(at(10 * MS)).toEqual(['timer'])
    expect(at(20 * MS)).toEqual(['timer'])
    timers.switchOut()
    expect(at(95 * MS)).toEqual([])
    timers.switchIn(95 * MS)
    expect(log.splice(0)).toEqual(['timer'])
    expect(at(104 * MS)).toEqual([])
    expect(at(105 * MS)).toEqual(['timer'])
  })

  test.each([[MS - 1, -ERRNO.EINVAL], [MS, 0], [2 ** 62 - 1, 0], [2 ** 63, -ERRNO.EINVAL]])(
    'a period of %i ns gives %i', (period, expected) => {
      expect(vcpuTimers().timers.setPeriodic(period, 0)).toBe(expected)
    })

  test('a stopped periodic timer stays stopped when the vCPU is switched in', () => {
    const { timers, at } = vcpuTimers()
    timers.setPeriodic(2 * MS, 0)
    timers.stopPeriodic()
    timers.switchIn(0)
    expect(at(100 * MS)).toEqual([])
  })

  test('a poll is limited, and ends with stopPoll', () => {
    const { timers, at } = vcpuTimers()
    timers.startPoll(0)
    expect(at(1e15)).toEqual([])
    timers.startPoll(50)
    expect(at(50)).toEqual(['poll'])
    timers.startPoll(90)
    timers.stopPoll()
    expect(at(100)).toEqual([])
  })

  test('saved timers go on where they were', () => {
    const one = vcpuTimers()
    one.timers.setPeriodic(5 * MS, 0)
    one.timers.setOneShot(7 * MS, 0)
    const two = vcpuTimers()
    two.queue.load(one.queue.save())
    two.timers.load(one.timers.save())
    one.at(0)
    expect(two.at(6 * MS)).toEqual(one.at(6 * MS))
    expect(two.at(7 * MS)).toEqual(one.at(7 * MS))
    expect(two.timers.save()).toEqual(one.timers.save())
    two.timers.stopAll()
    expect(two.queue.size).toBe(0)
  })
})

describe('watchdogs', () => {
  const build = () => {
    const queue = new TimerQueue()
    let expired = 0
    const dogs = new DomainWatchdogs(queue, () => { expired += 1 })
    return { queue, dogs, expired: () => expired }
  }

  test('there are two; both must be pushed back or given back', () => {
    const { queue, dogs, expired } = build()
    expect([dogs.operate(0, 2, 0), dogs.operate(0, 3, 0), dogs.operate(0, 3, 0)]).toEqual([1, 2, -ERRNO.ENOSPC])
    expect(dogs.operate(1, 5, 1e9)).toBe(0)
    expect(dogs.operate(2, 0, 1e9)).toBe(0)
    queue.run(5e9)
    expect(expired()).toBe(0)
    queue.run(6e9)
    expect(expired()).toBe(1)
    dogs.stopAll()
    expect(dogs.operate(0, 1, 0)).toBe(1)
  })

  test.each([1, 3, 0xffffffff])('number %i, not in use, is EINVAL', (id) => {
    expect(build().dogs.operate(id, 1, 0)).toBe(-ERRNO.EINVAL)
  })

  test('saved watchdogs bite at the same time', () => {
    const one = build()
    one.dogs.operate(0, 2, 0)
    const two = build()
    two.queue.load(one.queue.save())
    two.dogs.load(one.dogs.save())
    expect(two.queue.next).toBe(2e9)
    expect(two.dogs.operate(0, 2, 0)).toBe(2)
  })
})
