import { describe, expect, test } from 'vitest'
import { CalendarClock, calendarClockShape } from '../../../../src/hypervisor/devices/calendar-clock.ts'
import { ManualClock } from '../../../../src/util/index.ts'

const SECOND = 1_000_000_000
/** Saturday, the fifth of April 2008, at 13:59:58.5. */
const BEGAN = BigInt(Date.UTC(2008, 3, 5, 13, 59, 58)) * 1_000_000n + 500_000_000n

function clockAt(began = BEGAN) {
  const time = new ManualClock()
  const clock = new CalendarClock(time, began)
  const read = (register: number): number => {
    clock.select(register)
    return clock.read()
  }
  const write = (register: number, value: number): void => {
    clock.select(register)
    clock.write(value)
  }
  /** Seconds, minutes, hours, weekday, day, month, year. */
  const shown = (): string[] => [0, 2, 4, 6, 7, 8, 9].map((register) => read(register).toString(16))
  return { time, clock, read, write, shown }
}

describe('the calendar clock of the machine', () => {
  test('shows the time of the host in decimal digits and twelve hours, as firmware has left it', () => {
    const { time, read, shown } = clockAt()
    expect(shown()).toEqual(['58', '59', '81', '7', '5', '4', '8'])
    time.advance(1.5 * SECOND)
    expect(shown()).toEqual(['0', '0', '82', '7', '5', '4', '8'])
    expect([read(0x0a), read(0x0b), read(0x0c), read(0x0d)]).toEqual([0x26, 0, 0, 0x80])
  })

  test.each([[0, 0x12], [1, 1], [11, 0x11], [12, 0x92], [23, 0x91]])('shows hour %i in twelve hours as %i, and in a full day as itself', (hour, twelve) => {
    const { read, write } = clockAt(BigInt(Date.UTC(2024, 1, 29, hour)) * 1_000_000n)
    expect(read(4)).toBe(twelve)
    write(0x0b, 0x02 | 0x04)
    expect(read(4)).toBe(hour)
  })

  test('says a little before each second that it is about to change', () => {
    const { time, read } = clockAt()
    time.advance(0.5 * SECOND - 244_001)
    expect(read(0x0a)).toBe(0x26)
    time.advance(1)
    expect(read(0x0a)).toBe(0xa6)
    time.advance(244_000)
    expect(read(0x0a)).toBe(0x26)
  })

  test('stands still while it is set, and goes on from what was written, with other digits and hours', () => {
    const { time, write, shown } = clockAt()
    write(0x0b, 0x80 | 0x02 | 0x04)
    for (const [register, value] of [[0, 30], [2, 58], [4, 23], [7, 29], [8, 2], [9, 24]] as const) write(register, value)
    time.advance(20 * SECOND)
    expect(shown().map((digits) => Number.parseInt(digits, 16)).filter((_, field) => field !== 3)).toEqual([30, 58, 23, 29, 2, 24])
    write(0x0b, 0x02 | 0x04)
    time.advance(91 * SECOND)
    expect(shown().map((digits) => Number.parseInt(digits, 16))).toEqual([1, 0, 0, 6, 1, 3, 24])
  })

  test('is set by one register too, while it goes on', () => {
    const { write, shown } = clockAt()
    write(2, 0x07)
    expect(shown()).toEqual(['58', '7', '81', '7', '5', '4', '8'])
  })

  test('keeps bytes beside the time, and what it is in a state', () => {
    const { clock, read, write, time } = clockAt()
    write(0x7f, 0xa5)
    write(0x0d, 0xff)
    write(4, 0x03)
    const saved = clock.save()
    expect(clock.isAsSaved(saved)).toBe(true)
    const other = new CalendarClock(time, 0n)
    other.load(saved)
    expect(other.save()).toEqual(saved)
    other.select(0x7f)
    expect([other.read(), read(0x0d)]).toEqual([0xa5, 0x80])
    other.select(4)
    expect([other.read(), clock.isAsSaved(saved)]).toEqual([0x03, false])
  })

  test.each([
    ['forwards', [[9, 99], [8, 12], [7, 255]]], ['backwards', [[9, 0], [8, 0], [7, 0]]],
  ] as const)('set again and again from century to century, %s, has a time and a state that can be loaded', (_, fields) => {
    const { clock, write, shown } = clockAt()
    write(0x0b, 0x04)
    for (let times = 0; times < 20_000; times += 1) for (const [register, value] of fields) write(register, value)
    expect(calendarClockShape(clock.save())).toBe(undefined)
    for (const field of shown()) expect(field).toMatch(/^[0-9a-f]{1,2}$/)
  })
})
