import { describe, expect, test } from 'vitest'
import { NATIVE, SharedInfo, VcpuInfo, VcpuTimeInfo } from '../../../../src/abi/index.ts'
import { TIME_RECORD_LIFETIME, TimeRecords, TscScale } from '../../../../src/hypervisor/time/index.ts'
import { SeededRandom } from '../../../../src/util/index.ts'

/** What a guest computes from a record, in the 64-bit arithmetic of its own code. */
function guestTime(view: DataView, record: number, tsc: bigint): bigint {
  const { tscTimestamp, systemTime, tscToSystemMul, tscShift } = VcpuTimeInfo.decode(view, record)
  let delta = BigInt.asUintN(64, tsc - tscTimestamp)
  delta = tscShift < 0 ? delta >> BigInt(-tscShift) : BigInt.asUintN(64, delta << BigInt(tscShift))
  return systemTime + ((delta * BigInt(tscToSystemMul)) >> 32n)
}

const ticks = (scale: TscScale, time: number): bigint => (BigInt(time) * BigInt(scale.kilohertz)) / 1_000_000n

describe('time records', () => {
  // A tick of more than 1 ns, or a shift that drops two bits, costs the second nanosecond: the formula gives no more.
  test.each([[2_600_000, 1], [1_000_000, 1], [3_792_911, 1], [999_983, 2], [4_999_999, 2]])(
    "at %i kHz the guest's formula gives the host's time within %i ns while the record holds", (kilohertz, limit) => {
      const view = new DataView(new ArrayBuffer(64))
      const scale = new TscScale(kilohertz)
      const records = new TimeRecords({ view }, scale)
      const random = new SeededRandom(kilohertz)
      let worst = 0
      for (let i = 0; i < 2000; i += 1) {
        const written = random.next() * (i % 1000) + i
        records.writeRecord(0, { now: written, shown: written })
        for (const later of [0, 1, random.next() % TIME_RECORD_LIFETIME, TIME_RECORD_LIFETIME]) {
          const now = written + later
          worst = Math.max(worst, Math.abs(Number(guestTime(view, 0, ticks(scale, now)) - BigInt(now))))
        }
      }
      expect(worst).toBeLessThanOrEqual(limit)
    })

  test.each([2_600_000, 1_000_000, 999_983, 20_000])("at %i kHz the guest's formula passes at the rate of a clock that is wrong, and is never ahead of it", (kilohertz) => {
    const view = new DataView(new ArrayBuffer(64))
    const scale = new TscScale(kilohertz)
    const records = new TimeRecords({ view }, scale)
    const random = new SeededRandom(kilohertz)
    const tick = Math.ceil(1e6 / kilohertz)
    for (const rate of [0.5, 0.75, 0.999_999, 1.000_001, 1.25, 1.5, 40]) {
      for (let i = 0; i < 200; i += 1) {
        const [written, later] = [random.next() * i, random.next() % TIME_RECORD_LIFETIME]
        records.writeRecord(0, { now: written, shown: 7, rate })
        const behind = later * rate - Number(guestTime(view, 0, ticks(scale, written + later)) - 7n)
        expect(behind).toBeGreaterThanOrEqual(-tick * rate)
        expect(behind).toBeLessThanOrEqual((tick + 2) * rate + 2)
      }
    }
  })

  test('the version is even after each update and grows, also from what a guest left there', () => {
    const view = new DataView(new ArrayBuffer(64))
    const records = new TimeRecords({ view }, new TscScale(2_600_000))
    const versions = [0, 1, 0xffffffff].map((version) => {
      VcpuInfo.time.layout.version.set(view, VcpuInfo.time.at(0), version)
      records.updateVcpu(0, { now: 5, shown: 5 })
      return VcpuTimeInfo.version.get(view, VcpuInfo.time.at(0))
    })
    expect(versions).toEqual([2, 4, 2])
  })

  test('while a record is written its version is odd', () => {
    const view = new DataView(new ArrayBuffer(64))
    const seen: number[] = []
    const spied = new Proxy(view, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          const result: unknown = Reflect.apply(value, target, args)
          if (String(name).startsWith('set')) seen.push(target.getUint32(0, true))
          return result
        }
      },
    })
    new TimeRecords({ view: spied }, new TscScale(2_600_000)).writeRecord(0, { now: 1e9, shown: 1e9 })
    expect(seen.length).toBeGreaterThan(5)
    expect(seen.slice(0, -1).every((version) => version === 1)).toBe(true)
    expect(seen.at(-1)).toBe(2)
  })

  test('a stable counter is announced only where it is one', () => {
    const view = new DataView(new ArrayBuffer(64))
    const scale = new TscScale(2_600_000)
    new TimeRecords({ view }, scale).writeRecord(0, { now: 1, shown: 1 })
    expect(VcpuTimeInfo.flags.get(view, 0)).toBe(0)
    new TimeRecords({ view }, scale, { stableTsc: true }).writeRecord(0, { now: 1, shown: 1 })
    expect(VcpuTimeInfo.flags.get(view, 0)).toBe(1)
  })
})

test('the wall clock is calendar time at boot, in seconds of 64 bits and nanoseconds', () => {
  const view = new DataView(new ArrayBuffer(4096))
  const records = new TimeRecords({ view }, new TscScale(2_600_000))
  records.updateWallClock({ sharedInfo: 0, abi: NATIVE }, { bootTime: 5_000_000_000n * 1_000_000_000n + 123_456_789n })
  expect(SharedInfo.wcSec.get(view, 0) + SharedInfo.wcSecHi.get(view, 0) * 2 ** 32).toBe(5_000_000_000)
  expect(SharedInfo.wcNsec.get(view, 0)).toBe(123_456_789)
  expect(SharedInfo.wcVersion.get(view, 0)).toBe(2)
})
