/**
 * The host's calendar: what time it was when the host began. A privileged domain may set it, and every domain that there is, or will
 * be, sees it. Reference: xen/common/time.c, do_settime.
 */
import { type StateOf, type Stateful, shape } from '../../util/index.ts'

const NS_PER_SECOND = 1_000_000_000n

/** A calendar as plain data: seconds since 1970, and nanoseconds beside them. */
export const wallClockShape = /* @__PURE__ */ shape.record({ seconds: shape.time, nanoseconds: /* @__PURE__ */ shape.whole(0, 999_999_999) })

/** When the host began. */
export class WallClock implements Stateful<StateOf<typeof wallClockShape>> {
  /** Nanoseconds since 1970. */
  bootTime: bigint

  constructor(bootTime: bigint) {
    this.bootTime = bootTime
  }

  /** Says what time it was at a system time; what would lie before 1970 wraps as Xen's does. */
  set({ seconds, nanoseconds, systemTime }: { readonly seconds: bigint; readonly nanoseconds: number; readonly systemTime: bigint }): void {
    this.bootTime = BigInt.asUintN(64, seconds * NS_PER_SECOND + BigInt(nanoseconds) - systemTime)
  }

  save(): StateOf<typeof wallClockShape> {
    return { seconds: Number(this.bootTime / NS_PER_SECOND), nanoseconds: Number(this.bootTime % NS_PER_SECOND) }
  }

  isAsSaved({ seconds, nanoseconds }: StateOf<typeof wallClockShape>): boolean {
    const now = this.save()
    return now.seconds === seconds && now.nanoseconds === nanoseconds
  }

  load({ seconds, nanoseconds }: StateOf<typeof wallClockShape>): void {
    this.bootTime = BigInt(seconds) * NS_PER_SECOND + BigInt(nanoseconds)
  }
}
