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

  test('keeps it up to date whether somebody listens to one of several types', () => {
    const { hub: events } = hub()
    const stopped = events.interest('stopped')
    const either = events.interest('started', 'stopped')
    const seen = (): readonly boolean[] => [stopped.isThere, either.isThere]
    expect(seen()).toEqual([false, false])
    const ends = [events.on('started', () => undefined), events.on('started', () => undefined)]
    expect(seen()).toEqual([false, true])
    ends[0]!()
    expect(seen(), 'another one still listens').toEqual([false, true])
    ends[1]!()
    expect(seen()).toEqual([false, false])
    const stop = events.onAny(() => undefined)
    expect([...seen(), events.interest('stopped').isThere]).toEqual([true, true, true])
    stop()
    expect(seen()).toEqual([false, false])
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

  describe('that keeps its last events', () => {
    const kept = () => {
      const events = new EventHub<Sample>(() => 0, undefined, { names: { started: true, stopped: true }, keep: 4 })
      for (let code = 1; code <= 6; code += 1) events.emit({ type: 'stopped', code })
      return events
    }
    const take = async (stream: AsyncIterable<{ readonly type: string }>, count: number): Promise<unknown[]> => {
      const taken: unknown[] = []
      for await (const event of stream) if (taken.push(event) === count) break
      return taken
    }

    test('replays them, and goes on with what comes', async () => {
      const events = kept()
      expect(events.last).toBe(6)
      expect(events.recent().map(({ seq }) => seq)).toEqual([3, 4, 5, 6])
      const stream = events.stream({ replay: 2 })
      events.emit({ type: 'started', name: 'later' })
      expect(await take(stream, 3)).toMatchObject([{ seq: 5 }, { seq: 6 }, { seq: 7, name: 'later' }])
    })

    test('goes on behind the one where a reader stopped, and says what it has not kept', async () => {
      expect(await take(kept().stream({ since: 4 }), 2)).toMatchObject([{ seq: 5 }, { seq: 6 }])
      expect(await take(kept().stream({ since: 0 }), 2)).toMatchObject([{ type: 'events-lost', count: 2 }, { seq: 3 }])
    })

    test('gives those that pass all filters', async () => {
      const events = kept()
      expect(events.recent({ types: ['started'] })).toEqual([])
      const stream = events.stream({ types: ['stopped'], accept: (event) => event.type === 'stopped' && event.code > 8, replay: 9 })
      for (let code = 7; code <= 10; code += 1) events.emit({ type: 'stopped', code })
      expect(await take(stream, 2)).toMatchObject([{ code: 9 }, { code: 10 }])
      expect(() => events.stream({ types: ['stoped' as 'stopped'] })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
      expect(() => events.stream({ domid: -1 })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    })
  })

  test('takes events from elsewhere only while somebody listens for them', () => {
    const { hub: events } = hub()
    const told: string[] = []
    events.feed(['started'], () => {
      told.push('open')
      return () => told.push('close')
    })
    const stop = events.on('stopped', () => undefined)
    const stopStarted = events.on('started', () => undefined)
    stop()
    const stopAny = events.onAny(() => undefined)
    stopStarted()
    expect(told).toEqual(['open'])
    stopAny()
    expect(told).toEqual(['open', 'close'])
    events.onAny(() => undefined)
    events.endFeeds()
    expect(told).toEqual(['open', 'close', 'open', 'close'])
  })
})
