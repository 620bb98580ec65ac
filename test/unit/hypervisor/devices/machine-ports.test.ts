import { describe, expect, test } from 'vitest'
import { CalendarClock } from '../../../../src/hypervisor/devices/calendar-clock.ts'
import { IntervalTimer } from '../../../../src/hypervisor/devices/interval-timer.ts'
import { clockPortsIn, readPort, writePort } from '../../../../src/hypervisor/devices/machine-ports.ts'
import { ManualClock } from '../../../../src/util/index.ts'

const time = new ManualClock()
const devices = { calendarClock: new CalendarClock(time, 0n), intervalTimer: new IntervalTimer(time) }
const dom0 = { privileged: true, tools: { clockPorts: 3 } }
const guest = { privileged: false, tools: { clockPorts: 0 } }
const permitted = { privileged: false, tools: { clockPorts: 3 } }

describe('ports of the machine', () => {
  test('have a device for those who may reach it, and read as ones for all others', () => {
    writePort(devices, dom0, { port: 0x70, size: 1, value: 0x0d })
    const read = [0x42, 0x61, 0x70, 0x71, 0x40, 0x43, 0x3f8].map((port) => [dom0, guest, permitted].map((user) => readPort(devices, user, { port, size: 1 })))
    expect(read).toEqual([[0, 0xff, 0xff], [0x10 & readPort(devices, dom0, { port: 0x61, size: 1 }), 0xff, 0xff], [0x0d, 0xff, 0x0d], [0x80, 0xff, 0x80], [0xff, 0xff, 0xff], [0xff, 0xff, 0xff], [0xff, 0xff, 0xff]])
  })

  test('of several bytes are each its own', () => {
    expect(readPort(devices, dom0, { port: 0x70, size: 4 })).toBe(0xffff_800d)
    writePort(devices, dom0, { port: 0x70, size: 2, value: 0x5a7f })
    expect(devices.calendarClock.read()).toBe(0x5a)
  })

  test('take nothing from who may not', () => {
    writePort(devices, guest, { port: 0x70, size: 1, value: 0 })
    writePort(devices, guest, { port: 0x71, size: 1, value: 0 })
    writePort(devices, permitted, { port: 0x61, size: 1, value: 1 })
    expect([devices.calendarClock.selection, devices.calendarClock.read(), devices.intervalTimer.save().speaker]).toEqual([0x7f, 0x5a, 0])
  })

  test.each([[0, 0x1_0000, 3], [0x70, 2, 3], [0x70, 1, 1], [0x71, 1, 2], [0x72, 5, 0], [0x6f, 1, 0]])('from %i on %i are %i of the clock\'s', (first, count, bits) => {
    expect(clockPortsIn(first, count)).toBe(bits)
  })
})
