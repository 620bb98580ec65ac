/** When the event loop is kept from sleeping: by counting what waits for its next turn, on a clock that is not real. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { BusyPoll } from '../../../src/node/busy-poll.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setImmediate', 'performance'] }))
afterEach(() => void vi.useRealTimers())

/** Lets some milliseconds pass and then a turn of the event loop; whether another one is asked for. A turn takes one. */
function turnAfter(milliseconds: number): boolean {
  vi.advanceTimersByTime(milliseconds)
  vi.runOnlyPendingTimers()
  return vi.getTimerCount() > 0
}

test('a message that comes alone is not followed by polling', () => {
  const poll = new BusyPoll(50)
  poll.arrived()
  expect(turnAfter(0)).toBe(false)
})

test('a message that follows closely is followed by polling, for as long as the limit', () => {
  const poll = new BusyPoll(50)
  poll.arrived()
  turnAfter(0)
  vi.advanceTimersByTime(30)
  poll.arrived()
  expect([turnAfter(0), turnAfter(20), turnAfter(20), turnAfter(20)]).toEqual([true, true, true, false])
})

test('messages that come while it polls keep it polling, and one that comes late does not', () => {
  const poll = new BusyPoll(50)
  poll.arrived()
  turnAfter(0)
  for (let i = 0; i < 10; i += 1) {
    poll.arrived()
    expect(turnAfter(40)).toBe(true)
  }
  expect(turnAfter(60)).toBe(false)
  vi.advanceTimersByTime(1)
  poll.arrived()
  expect(turnAfter(0)).toBe(false)
})

/** A message, so long after the last thing that was done; whether it is followed by polling, which is waited out. */
function messageAfter(poll: BusyPoll, milliseconds: number): boolean {
  vi.advanceTimersByTime(milliseconds)
  poll.arrived()
  const polls = turnAfter(0)
  while (turnAfter(10)) continue
  return polls
}

test('a sleep may last twice the limit, until polling after such sleeps has been in vain three times', () => {
  const poll = new BusyPoll(50)
  messageAfter(poll, 0)
  // Each time some 60 ms pass with the poll that brings nothing.
  expect([20, 20, 20, 20].map((more) => messageAfter(poll, more))).toEqual([true, true, true, false])
  poll.arrived()
  turnAfter(0)
  vi.advanceTimersByTime(30)
  poll.arrived()
  expect(turnAfter(0)).toBe(true)
  while (turnAfter(10)) continue
  expect(messageAfter(poll, 20)).toBe(true)
})

test('many messages in one turn are not followed by polling', () => {
  const poll = new BusyPoll(50)
  poll.arrived()
  turnAfter(0)
  for (let i = 0; i < 3; i += 1) poll.arrived()
  expect(turnAfter(0)).toBe(false)
})

test('with a limit of 0 nothing is ever asked for', () => {
  const poll = new BusyPoll(0)
  for (let i = 0; i < 3; i += 1) {
    poll.arrived()
    expect(vi.getTimerCount()).toBe(0)
  }
})
