import { describe, expect, test, vi } from 'vitest'
import {
  VirtualClock,
  type ControlInterface,
  type RunLimits,
  type RunResult,
} from '../../../../src/hypervisor/index.ts'
import { RealTimeClock } from '../../../../src/toolstack/run/real-time-clock.ts'
import { Inputs } from '../../../../src/toolstack/run/inputs.ts'
import { RunLoop } from '../../../../src/toolstack/run/run-loop.ts'
import { Wall } from '../../../../src/toolstack/run/wall.ts'
import { XenError } from '../../../../src/util/index.ts'

/** A hypervisor that answers `run` from a script, and then says that it is idle. */
function scripted(script: readonly (RunResult | (() => RunResult))[], domains: { blocked: boolean }[] = []) {
  const rest = [...script]
  const runs: RunLimits[] = []
  const readings: number[] = []
  const control = {
    run(limits: RunLimits): RunResult {
      if (limits.at !== undefined) readings.push(limits.at)
      if (limits.instructions === 0) return { kind: 'limit' }
      runs.push(limits)
      const next = rest.shift() ?? { kind: 'idle' }
      return typeof next === 'function' ? next() : next
    },
    isQuiet: () => domains.every(({ blocked }) => blocked),
  }
  // Only these two are used by the loop.
  return { control: control as unknown as ControlInterface, runs, rest, readings }
}

const failures = (): { seen: unknown[]; hear: (error: unknown) => void } => {
  const seen: unknown[] = []
  return { seen, hear: (error) => seen.push(error) }
}

describe('the run loop', () => {
  test('runs until the host is idle and starts again when kicked', async () => {
    const { control, runs } = scripted([{ kind: 'limit' }, { kind: 'turn' }])
    const loop = new RunLoop(control, new VirtualClock(), () => undefined)
    const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10))
    loop.kick()
    await vi.waitUntil(() => runs.length >= 3, { timeout: 20_000 })
    await pause()
    expect(runs).toHaveLength(3)
    loop.kick()
    await vi.waitUntil(() => runs.length >= 4, { timeout: 20_000 })
    await pause()
    expect(runs).toHaveLength(4)
  })

  test('settles only when nothing can run, promises included', async () => {
    const domain = { blocked: false }
    let promised = false
    const { control } = scripted([
      { kind: 'limit' },
      () => {
        void Promise.resolve().then(() => { promised = true })
        domain.blocked = true
        return { kind: 'turn' }
      },
    ], [domain])
    const loop = new RunLoop(control, new VirtualClock(), () => undefined)
    await loop.settled()
    expect([domain.blocked, promised]).toEqual([true, true])
  })

  test('gives guests shorter turns while somebody shares the thread with them', async () => {
    let turns = 0
    const { control, runs } = scripted(Array.from({ length: 4 }, () => () => {
      turns += 1
      if (turns === 1) release()
      if (turns === 2) other()
      return { kind: 'limit' } as const
    }))
    const loop = new RunLoop(control, new VirtualClock(), () => undefined)
    const [release, other] = [loop.share(), loop.share()]
    loop.kick()
    await vi.waitUntil(() => runs.length >= 4, { timeout: 20_000 })
    // Letting go twice is letting go once.
    release()
    const whole = runs[2]!.instructions!
    expect(runs.slice(0, 4).map(({ instructions }) => whole / instructions!)).toEqual([8, 8, 1, 1])
  })

  test('asks a condition after each slice', async () => {
    let value = 0
    const { control } = scripted([
      () => {
        value = 1
        return { kind: 'limit' }
      },
      () => {
        value = 2
        return { kind: 'limit' }
      },
    ])
    const loop = new RunLoop(control, new VirtualClock(), () => undefined)
    await loop.until('two', () => value === 2)
    expect(value).toBe(2)
  })

  test('moves virtual time on to a deadline when nothing else happens', async () => {
    const clock = new VirtualClock()
    const loop = new RunLoop(scripted([]).control, clock, () => undefined)
    await expect(loop.until('never', () => false, { timeout: 5e9 })).rejects.toMatchObject({
      code: 'TIMED_OUT',
      message: 'never did not happen in time',
    })
    expect(clock.now()).toBe(5e9)
  })

  test('gives up at its deadline to the nanosecond, however far a guest that only ticks would take a run', async () => {
    const clock = new VirtualClock()
    // A guest whose timer fires once a second: a run without a limit of time passes hours.
    const ticking = (limits: RunLimits): RunResult => {
      for (let ticks = 0; ticks < 10_000 && clock.now() < (limits.until ?? Infinity); ticks += 1) {
        clock.skipTo(Math.min(clock.now() + 1e9, limits.until ?? Infinity))
      }
      return { kind: 'limit' }
    }
    const control = { run: ticking, isQuiet: () => true } as unknown as ControlInterface
    const loop = new RunLoop(control, clock, () => undefined)
    const ends: number[] = []
    await Promise.all([1.5e9, 3e9 + 7, 2.25e9].map((timeout) =>
      loop.until('never', () => false, { timeout }).catch(() => ends.push(clock.now()))))
    expect(ends).toEqual([1.5e9, 2.25e9, 3e9 + 7])
    loop.stop()
  })

  test('refuses a time-out that is none, and others keep theirs', async () => {
    const clock = new VirtualClock()
    const loop = new RunLoop(scripted([]).control, clock, () => undefined)
    for (const timeout of [Number.NaN, -1, '1 fortnight', {}, 1e300] as never[]) {
      await expect(loop.until('it', () => true, { timeout })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    await expect(loop.until('never', () => false, { timeout: 5e9 })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(clock.now()).toBe(5e9)
  })

  test('gives up a condition that is aborted, and one that throws', async () => {
    const loop = new RunLoop(scripted([]).control, new VirtualClock(), () => undefined)
    const controller = new AbortController()
    const waiting = loop.until('it', () => false, { signal: controller.signal })
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(
      loop.until('it', () => {
        throw new Error('gone')
      }),
    ).rejects.toThrow('gone')
    await expect(loop.until('it', () => false, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    })
  })

  test('rejects what is awaited when it is stopped', async () => {
    const loop = new RunLoop(scripted([]).control, new VirtualClock(), () => undefined)
    const waiting = loop.until('it', () => false)
    loop.stop()
    await expect(waiting).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(loop.until('it', () => true)).rejects.toMatchObject({ code: 'CLOSED' })
    await loop.settled()
  })

  test('reports an error of the library itself and stands still', async () => {
    const { seen, hear } = failures()
    const { control } = scripted([() => { throw new Error('bug') }])
    const loop = new RunLoop(control, new VirtualClock(), hear)
    await expect(loop.until('it', () => false)).rejects.toMatchObject({ code: 'CLOSED' })
    expect(seen).toMatchObject([{ message: 'bug' }])
  })

  test('waits for the wall when a real-time host is idle, and wakes early when kicked', async () => {
    const clock = new RealTimeClock()
    clock.follow()
    const { control, runs, readings } = scripted([{ kind: 'wait', deadline: 20e6 }, { kind: 'wait', deadline: 60e9 }])
    const wall = new Wall({ control, clock, inputs: new Inputs(clock) })
    const loop = new RunLoop(control, clock, () => undefined)
    loop.belongTo({ idlePatience: Infinity, wall, checkDomain: () => undefined, idleError: () => new XenError('IDLE', 'idle') })
    await loop.until('the second run', () => runs.length >= 2)
    // JavaScript's timers may come a little early; what counts is that the wait was one.
    expect(wall.time).toBeGreaterThanOrEqual(10e6)
    expect(readings.at(-1)! - readings[0]!).toBeGreaterThanOrEqual(10e6)
    loop.kick()
    await loop.until('the third run', () => runs.length >= 3)
    expect(wall.time).toBeLessThan(30e9)
    loop.stop()
  })

  test('waits for the wall when guests have executed more than there was time for', async () => {
    const clock = new RealTimeClock()
    clock.follow()
    const { control, runs } = scripted([() => {
      clock.charge(20e6)
      return { kind: 'limit' }
    }, { kind: 'limit' }])
    const loop = new RunLoop(control, clock, () => undefined)
    const wall = new Wall({ control, clock, inputs: new Inputs(clock) })
    loop.belongTo({ idlePatience: Infinity, wall, checkDomain: () => undefined, idleError: () => new XenError('IDLE', 'idle') })
    await loop.until('the second run', () => runs.length >= 2)
    expect(wall.time).toBeGreaterThanOrEqual(19e6)
    loop.stop()
  })
})
