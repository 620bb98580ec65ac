import { describe, expect, test } from 'vitest'
import { IntervalTimer } from '../../../../src/hypervisor/devices/interval-timer.ts'
import { ManualClock } from '../../../../src/util/index.ts'

/** Nanoseconds in which the crystal ticks so often, rounded up. */
const ticks = (count: number): number => Math.ceil((count * 1e9) / 1_193_182)
const [GATE, OUTPUT] = [0x01, 0x20] as const

function timer(control: number, count: number, { gate = GATE }: { readonly gate?: number } = {}) {
  const clock = new ManualClock()
  const device = new IntervalTimer(clock)
  device.writeSpeaker(gate)
  device.writeControl(control)
  device.writeCount(count & 0xff)
  device.writeCount(count >>> 8)
  const read = (): number => device.readCount() | (device.readCount() << 8)
  const output = (): boolean => (device.readSpeaker() & OUTPUT) !== 0
  return { clock, device, read, output }
}

describe('counter 2 of the interval timer', () => {
  test('counts down once, tells its end, and goes on around', () => {
    const { clock, read, output } = timer(0xb0, 1000)
    expect([read(), output()]).toEqual([1000, false])
    clock.advance(ticks(999))
    expect([read(), output()]).toEqual([1, false])
    clock.advance(ticks(1))
    expect([read(), output()]).toEqual([0, true])
    clock.advance(ticks(1))
    expect(read()).toBe(0xffff)
  })

  test('waits for its gate, and stands where it is while that is low', () => {
    const { clock, device, read } = timer(0xb0, 1000, { gate: 0 })
    clock.advance(ticks(100))
    expect(read()).toBe(1000)
    device.writeSpeaker(GATE)
    clock.advance(ticks(100))
    device.writeSpeaker(0)
    clock.advance(ticks(100))
    expect(read()).toBe(900)
    device.writeSpeaker(GATE)
    clock.advance(ticks(100))
    expect(read()).toBe(800)
  })

  test('divides without an end, by pulses and by waves of two halves', () => {
    const rate = timer(0xb4, 10)
    rate.clock.advance(ticks(29))
    expect([rate.read(), rate.output()]).toEqual([1, false])
    rate.clock.advance(ticks(1))
    expect([rate.read(), rate.output()]).toEqual([10, true])
    const wave = timer(0xb6, 10)
    expect([wave.read(), wave.output()]).toEqual([10, true])
    wave.clock.advance(ticks(6))
    expect([wave.read(), wave.output()]).toEqual([8, false])
  })

  test('is begun by its gate\'s edge where that is its mode', () => {
    const { clock, device, output } = timer(0xb2, 100)
    clock.advance(ticks(200))
    expect(output()).toBe(true)
    device.writeSpeaker(0)
    device.writeSpeaker(GATE)
    expect(output()).toBe(false)
    clock.advance(ticks(100))
    expect(output()).toBe(true)
  })

  test('counts decimal digits', () => {
    const { clock, read } = timer(0xb1, 0x1000)
    clock.advance(ticks(1))
    expect(read()).toBe(0x0999)
  })

  test('keeps a count that is latched, and tells its status, until they are read', () => {
    const { clock, device, read } = timer(0xb0, 1000)
    device.writeControl(0x80)
    clock.advance(ticks(10))
    expect(read()).toBe(1000)
    // Read back: count and status.
    device.writeControl(0xc8)
    clock.advance(ticks(10))
    expect([device.readCount(), read(), read()]).toEqual([0x30, 990, 980])
  })

  test('reads and writes one byte of two where that was asked for', () => {
    const clock = new ManualClock()
    const device = new IntervalTimer(clock)
    device.writeSpeaker(GATE)
    device.writeControl(0xa0)
    device.writeCount(0x12)
    expect([device.readCount(), device.readCount()]).toEqual([0x12, 0x12])
  })

  test('takes nothing for the counters that are the hypervisor\'s', () => {
    const { device, read } = timer(0xb0, 1000)
    for (const control of [0x30, 0x74, 0x00, 0xc2]) device.writeControl(control)
    expect(read()).toBe(1000)
  })

  test('is what it was when its state is loaded', () => {
    const { clock, device } = timer(0xb0, 1000)
    clock.advance(ticks(10))
    device.readCount()
    const saved = device.save()
    const other = new IntervalTimer(clock)
    other.load(saved)
    clock.advance(ticks(5))
    expect(other.readCount()).toBe(device.readCount())
    expect(other.save()).toEqual(device.save())
    device.readCount()
    other.writeSpeaker(0)
    expect([device.isAsSaved(saved), other.isAsSaved(saved)]).toEqual([true, false])
  })
})
