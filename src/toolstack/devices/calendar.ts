/** Calendar time for what back-ends keep times of, exact to the nanosecond, which no number of seconds is. */
import type { FileTime } from '../../drivers/index.ts'

/** UTC, so many nanoseconds of host time after the boot. */
export function calendarTime(booted: Date, now: number): FileTime {
  const milliseconds = booted.getTime()
  const nanoseconds = (milliseconds % 1000) * 1e6 + now
  return { seconds: Math.floor(milliseconds / 1000) + Math.floor(nanoseconds / 1e9), nanoseconds: Math.floor(nanoseconds % 1e9) }
}
