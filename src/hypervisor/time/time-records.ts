/**
 * What guests read time from: each vCPU's time record in its vcpu_info, and the wall clock in shared_info. A reader
 * on another vCPU retries while the version is odd or has changed, so the version is written before and after.
 *
 * The record's multiplier is cut to 32 bits: a guest's clock drifts by up to 1 ns in 4 s from its record, so records
 * are renewed at each switch and at least every {@link TIME_RECORD_LIFETIME}.
 *
 * Reference: public/xen.h (struct vcpu_time_info, shared_info); xen/arch/x86/time.c (__update_vcpu_system_time).
 */
import { type GuestAbi, PVCLOCK, SharedInfo, VcpuInfo, VcpuTimeInfo } from '../../abi/index.ts'
import { TWO_32, type WallClock } from '../../util/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { TscScale } from './tsc-scale.ts'

/** Nanoseconds after which a time record is to be renewed. */
export const TIME_RECORD_LIFETIME = 1_000_000_000

const NS_PER_SECOND = 1_000_000_000n
const NO_OFFSET = [0, 0] as const

/** Version while a record is being written: odd, and larger than before. */
const beginUpdate = (version: number): number => ((version + 1) | 1) >>> 0

/** A domain's shared_info, as far as its wall clock is concerned. */
export interface SharedClock {
  /** Byte address. */
  readonly sharedInfo: number
  readonly abi: GuestAbi
}

/**
 * What a record tells: host time, the time that it shows of that, how many nanoseconds it shows for each of the host's from there on (absent: one),
 * and a vCPU's own time-stamp counter (absent: the host's).
 */
export interface RecordedTime {
  readonly now: number
  readonly shown: number
  readonly rate?: number
  readonly counter?: { readonly tsc: TscScale; readonly timestampOffset: readonly [low: number, high: number] } | undefined
}

/** Writes the time records of all domains of a host. */
export class TimeRecords {
  private readonly view: DataView
  private readonly scale: TscScale
  private readonly flags: number

  /** `stableTsc` tells guests that they need not compare the records of different vCPUs. */
  constructor(memory: Pick<GuestMemory, 'view'>, scale: TscScale, options: { readonly stableTsc?: boolean } = {}) {
    this.view = memory.view
    this.scale = scale
    this.flags = options.stableTsc === true ? PVCLOCK.TSC_STABLE_BIT : 0
  }

  /** Renews the record in the `struct vcpu_info` at byte address `vcpuInfo`. */
  updateVcpu(vcpuInfo: number, time: RecordedTime): void {
    this.writeRecord(VcpuInfo.time.at(vcpuInfo), time)
  }

  /** Renews a bare `struct vcpu_time_info` at byte address `at` (the second record that a guest may register). */
  writeRecord(at: number, { now, shown, rate = 1, counter }: RecordedTime): void {
    const { view } = this
    const scale = counter?.tsc ?? this.scale
    const { multiplier, shift } = rate === 1 ? scale : scale.atRate(rate)
    const version = beginUpdate(VcpuTimeInfo.version.get(view, at))
    const tsc = scale.ticksAt(now)
    const [offsetLow, offsetHigh] = counter?.timestampOffset ?? NO_OFFSET
    const low = tsc.low + offsetLow
    VcpuTimeInfo.version.set(view, at, version)
    VcpuTimeInfo.tscTimestamp.setParts(view, at, low >>> 0, (tsc.high + offsetHigh + (low >= TWO_32 ? 1 : 0)) >>> 0)
    VcpuTimeInfo.systemTime.setNumber(view, at, shown)
    VcpuTimeInfo.tscToSystemMul.set(view, at, multiplier)
    VcpuTimeInfo.tscShift.set(view, at, shift)
    VcpuTimeInfo.flags.set(view, at, this.flags)
    VcpuTimeInfo.version.set(view, at, (version + 1) >>> 0)
  }

  /** Writes the wall clock: calendar time at host boot, to which the guest adds its system time. */
  updateWallClock({ sharedInfo, abi }: SharedClock, clock: WallClock): void {
    const { view } = this
    const { wcVersion, wcSec, wcSecHi, wcNsec } = abi.of(SharedInfo)
    const version = beginUpdate(wcVersion.get(view, sharedInfo))
    const seconds = Number(clock.bootTime / NS_PER_SECOND)
    wcVersion.set(view, sharedInfo, version)
    wcSec.set(view, sharedInfo, seconds >>> 0)
    wcSecHi.set(view, sharedInfo, Math.floor(seconds / TWO_32))
    wcNsec.set(view, sharedInfo, Number(clock.bootTime % NS_PER_SECOND))
    wcVersion.set(view, sharedInfo, (version + 1) >>> 0)
  }
}
