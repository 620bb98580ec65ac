/**
 * I/O ports of the machine that have a device behind them: counter 2 of the interval timer with its gate, for a privileged domain, and the
 * calendar clock, for whoever has been permitted its ports. All others, and these to other domains, read as ones and take what is
 * written without a word.
 * Reference: xen/arch/x86/pv/emul-priv-op.c, guest_io_read, guest_io_write; xen/arch/x86/dom0_build.c, dom0_setup_permissions.
 */
import type { CalendarClock } from './calendar-clock.ts'
import type { IntervalTimer } from './interval-timer.ts'

/** Ports by what is there. */
const PORT = { COUNTER_2: 0x42, TIMER_CONTROL: 0x43, SPEAKER: 0x61, CLOCK_REGISTER: 0x70, CLOCK_DATA: 0x71 } as const
const ALL_ONES = 0xff
const BOTH_CLOCK_PORTS = 3

/** The devices. */
export interface MachineDevices {
  readonly calendarClock: CalendarClock
  readonly intervalTimer: IntervalTimer
}

/** Whoever reaches for a port. */
export interface PortUser {
  readonly privileged: boolean
  readonly tools: { readonly clockPorts: number }
}

/** Which of the calendar clock's ports are in a range, a bit each. */
export const clockPortsIn = (first: number, count: number): number =>
  [PORT.CLOCK_REGISTER, PORT.CLOCK_DATA].reduce((bits, port, index) => bits | (port >= first && port - first < count ? 1 << index : 0), 0)

/** Whether a port has something behind it for a domain. */
function mayReach({ privileged, tools }: PortUser, port: number): boolean {
  switch (port) {
    case PORT.CLOCK_REGISTER:
    case PORT.CLOCK_DATA: return tools.clockPorts === BOTH_CLOCK_PORTS
    default: return privileged
  }
}

function readByte({ calendarClock, intervalTimer }: MachineDevices, port: number): number {
  switch (port) {
    case PORT.COUNTER_2: return intervalTimer.readCount()
    case PORT.SPEAKER: return intervalTimer.readSpeaker()
    case PORT.CLOCK_REGISTER: return calendarClock.selection
    case PORT.CLOCK_DATA: return calendarClock.read()
    default: return ALL_ONES
  }
}

function writeByte({ calendarClock, intervalTimer }: MachineDevices, port: number, value: number): void {
  switch (port) {
    case PORT.COUNTER_2: return intervalTimer.writeCount(value)
    case PORT.TIMER_CONTROL: return intervalTimer.writeControl(value)
    case PORT.SPEAKER: return intervalTimer.writeSpeaker(value)
    case PORT.CLOCK_REGISTER: return calendarClock.select(value)
    case PORT.CLOCK_DATA: return calendarClock.write(value)
    default:
  }
}

/** What `size` bytes from a port on read as. */
export function readPort(devices: MachineDevices, user: PortUser, { port, size }: { readonly port: number; readonly size: number }): number {
  let value = 0
  for (let byte = 0; byte < size; byte += 1) value |= (mayReach(user, port + byte) ? readByte(devices, port + byte) : ALL_ONES) << (8 * byte)
  return value >>> 0
}

/** Writes `size` bytes from a port on. */
export function writePort(devices: MachineDevices, user: PortUser, { port, size, value }: { readonly port: number; readonly size: number; readonly value: number }): void {
  for (let byte = 0; byte < size; byte += 1) if (mayReach(user, port + byte)) writeByte(devices, port + byte, (value >>> (8 * byte)) & 0xff)
}
