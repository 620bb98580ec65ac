import { describe, expect, test } from 'vitest'
import { EventHub, ManualClock, XenError } from '../../../src/util/index.ts'

type Sample = { readonly type: 'started'; readonly name: string } | { readonly type: 'stopped'; readonly code: number }

function hub() {
  const clock = new ManualClock()
  const errors: unknown[] = []
  return { clock, errors, hub: new EventHub<Sample>(() => clock.now(), (error) => errors.push(error)) }
}

describe('an event hub', () => {
  test('stamps each event with a sequence number and the time', () => {
    const { hub: events, clock } = hub()
    const seen: unknown[] = []
    events.on('started', (event) => seen.push(event))
    events.emit({ type: 'stopped', code: 1 })
    clock.advance(50)
    events.emit({ type: 'started', name: 'a' })
    expect(seen).toEqual([{ type: 'started', name: 'a', seq: 2, time: 50 }])
  })

  test('a listener that throws is reported and harms nobody', () => {
    const { hub: events, errors } = hub()
    const seen: string[] = []
    events.on('started', () => { throw new Error('bad listener') })
    events.on('started', (event) => seen.push(event.name))
    events.emit({ type: 'started', name: 'a' })
    expect(seen).toEqual(['a'])
    expect(errors).toHaveLength(1)
  })

  test('a listener whose promise rejects is reported, too', async () => {
    const errors: unknown[] = []
    const hub = new EventHub<{ readonly type: 'tick' }>(() => 0, (error) => errors.push(error))
    hub.on('tick', async () => { throw new Error('later') })
    hub.emit({ type: 'tick' })
    await new Promise((resolve) => setImmediate(resolve))
    expect(errors).toEqual([new Error('later')])
  })

  test('knows whether anybody listens', () => {
    const { hub: events } = hub()
    expect(events.wants('started')).toBe(false)
    const stop = events.onAny(() => undefined)
    expect(events.wants('started')).toBe(true)
    stop()
    expect(events.wants('started')).toBe(false)
  })

  test('waits for one event that fits', async () => {
    const { hub: events } = hub()
    const wanted = events.once('stopped', (event) => event.code === 2)
    events.emit({ type: 'stopped', code: 1 })
    events.emit({ type: 'stopped', code: 2 })
    expect(await wanted).toMatchObject({ code: 2, seq: 2 })
    expect(events.wants('stopped')).toBe(false)
  })

  test('waiting ends with ABORTED when the signal fires, and the listener is gone', async () => {
    const { hub: events } = hub()
    const abort = new AbortController()
    const wanted = events.once('stopped', undefined, { signal: abort.signal })
    abort.abort()
    await expect(wanted).rejects.toSatisfy((error) => XenError.is(error, 'ABORTED'))
    expect(events.wants('stopped')).toBe(false)
  })

  test('a stream yields events in order until its signal fires', async () => {
    const { hub: events } = hub()
    const abort = new AbortController()
    const stream = events.stream({ signal: abort.signal })
    events.emit({ type: 'started', name: 'a' })
    events.emit({ type: 'stopped', code: 3 })
    abort.abort()
    const types: string[] = []
    for await (const event of stream) types.push(event.type)
    expect(types).toEqual(['started', 'stopped'])
    expect(events.wants('started')).toBe(false)
  })

  test('a slow reader is told how many events it lost', async () => {
    const { hub: events } = hub()
    const abort = new AbortController()
    const stream = events.stream({ limit: 2, signal: abort.signal })
    for (let code = 0; code < 5; code += 1) events.emit({ type: 'stopped', code })
    abort.abort()
    const seen: unknown[] = []
    for await (const event of stream) seen.push('count' in event ? { lost: event.count } : event.seq)
    expect(seen).toEqual([{ lost: 3 }, 4, 5])
  })
})
