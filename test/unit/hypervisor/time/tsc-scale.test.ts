import { describe, expect, test } from 'vitest'
import { TscScale } from '../../../../src/hypervisor/time/index.ts'
import { SeededRandom } from '../../../../src/util/index.ts'

describe('the multiplier and shift of the time record', () => {
  // Worked by hand from the definition: halve or double ticks per second into (1e9, 2e9], then 1e9 * 2^32 / that.
  test.each([
    [2_600_000, 3303820996, -1],
    [1_000_000, 2147483648, 1],
    [2_000_000, 2147483648, 0],
    [2_000_001, 4294965148, -1],
    [999_999, 2147485795, 1],
    [1000, 4194304000, 10],
    [4_200_000, 4090445043, -2],
  ])('at %i kHz they are %i and %i', (kilohertz, multiplier, shift) => {
    const scale = new TscScale(kilohertz)
    let ticks = BigInt(kilohertz) * 1000n
    for (let i = scale.shift; i < 0; i += 1) ticks >>= 1n
    for (let i = scale.shift; i > 0; i -= 1) ticks <<= 1n
    expect(BigInt(scale.multiplier)).toBe((1_000_000_000n << 32n) / ticks)
    expect([scale.multiplier, scale.shift]).toEqual([multiplier, shift])
  })
})

describe('ticks and nanoseconds', () => {
  const random = new SeededRandom(7)
  const times = Array.from({ length: 300 }, (_, i) => (i < 10 ? i : random.next() * (2 ** (i % 21)) + random.next()))
  const sizes = [1000, 999_983, 2_600_000, 3_792_911, 100_000_000]

  test.each(sizes)('at %i kHz ticks are exact for every time up to 2^53 ns', (kilohertz) => {
    const scale = new TscScale(kilohertz)
    for (const time of [...times, Number.MAX_SAFE_INTEGER]) {
      const { low, high } = scale.ticksAt(time)
      const exact = BigInt.asUintN(64, (BigInt(time) * BigInt(kilohertz)) / 1_000_000n)
      expect((BigInt(high) << 32n) | BigInt(low)).toBe(exact)
    }
  })

  test.each(sizes)('at %i kHz a time is reached after ticksFor, and not a tick before', (kilohertz) => {
    const scale = new TscScale(kilohertz)
    for (let i = 0; i < 100; i += 1) {
      const time = random.next() * 16 + i
      const ticks = scale.ticksFor(time)
      expect(scale.nanosecondsOf(ticks)).toBeGreaterThanOrEqual(time)
      expect((BigInt(ticks) - 1n) * 1_000_000n).toBeLessThan(BigInt(time) * BigInt(kilohertz))
      expect(BigInt(scale.nanosecondsOf(ticks))).toBe((BigInt(ticks) * 1_000_000n) / BigInt(kilohertz))
    }
  })

  test.each([0, 999, 1.5, 100_000_001, NaN])('a frequency of %d kHz is refused', (kilohertz) => {
    expect(() => new TscScale(kilohertz)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
