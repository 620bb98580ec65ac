/**
 * What a host and its domains have used so far, as plain objects: xentop's columns, and how often each hypercall was made and why
 * processors came back to the hypervisor, as xenperf counts. Numbers only grow, but for sizes and states.
 * Reference: xentop(1); xenperf(1).
 */
import type { ControlInterface, DomainInfo } from '../../hypervisor/index.ts'
import { duration, XenError, checkOptions, flag, abortSignal, parseDuration, type DomId, type Duration } from '../../util/index.ts'
import type { DeviceCounters } from '../devices/attached.ts'
import { stateLetters } from '../domains/domain-list.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'
import type { RunLoop } from '../run/run-loop.ts'
import { exitsOf } from './exit-counts.ts'

/** What a domain has used. */
export interface DomainStatistics {
  readonly id: number
  readonly name: string
  /** `rbpscd`, a dash for what is not so. */
  readonly state: string
  /** Nanoseconds of CPU of all its vCPUs. */
  readonly cpuTime: number
  /** Percent of one CPU since the sample before; undefined in a first sample. */
  readonly cpuPercent: number | undefined
  /** The same by vCPU: nanoseconds, and whether it is online. */
  readonly vcpus: readonly { readonly vcpu: number; readonly online: boolean; readonly cpuTime: number }[]
  /** MiB that it has, and that the hypervisor lets it have. */
  readonly memory: number
  readonly maxMemory: number
  readonly claimed: number
  readonly pool: number
  readonly devices: readonly DeviceCounters[]
  /** How often runs of its vCPUs ended, by why: `syscall`, `exception 14`, `cpuid`; only where it was asked for, and it has processors. */
  readonly exits?: Readonly<Record<string, number>>
}

/** What a host has used. */
export interface HostStatistics {
  /** Host time in nanoseconds. */
  readonly time: number
  readonly cpus: number
  readonly freeCpus: number
  readonly scheduler: string
  /** MiB. */
  readonly totalMemory: number
  readonly freeMemory: number
  readonly claimedMemory: number
  /** dom0 first. */
  readonly domains: readonly DomainStatistics[]
  /** How often binary guests made each hypercall, by name; those that nobody made are left out. */
  readonly hypercalls: Readonly<Record<string, number>>
}

/** What is counted. */
export interface StatisticsOptions {
  /** Why processors came back to the hypervisor, for each domain that has some. Default false. */
  readonly exits?: boolean | undefined
}

/** How statistics are followed. */
export interface WatchStatisticsOptions extends StatisticsOptions {
  /** Host time between two samples. Default 1 s. */
  readonly interval?: Duration | undefined
  readonly signal?: AbortSignal | undefined
}

/** What they are read from. */
export interface StatisticsSource {
  readonly control: ControlInterface
  readonly loop: RunLoop
  nameOf(domid: DomId): string
  /** What has been done for devices, by domain. */
  counters(): ReadonlyMap<DomId, readonly DeviceCounters[]>
}

const NONE: readonly DeviceCounters[] = []

function domainStatistics(
  { control, nameOf }: StatisticsSource, info: DomainInfo,
  { devices, before, exits }: { readonly devices: readonly DeviceCounters[]; readonly before: { readonly cpuTime: number; readonly passed: number } | undefined; readonly exits: boolean },
): DomainStatistics {
  const { domid, maxVcpu, cpuTime } = info
  const vcpus: DomainStatistics['vcpus'][number][] = []
  for (let vcpu = 0; vcpu <= maxVcpu; vcpu += 1) {
    const { online, cpuTime: time } = control.vcpuInfo(domid, vcpu)
    vcpus.push({ vcpu, online, cpuTime: time })
  }
  const statistics = {
    id: domid, name: nameOf(domid), state: stateLetters(info), cpuTime,
    cpuPercent: before === undefined || before.passed <= 0 ? undefined : (cpuTime - before.cpuTime) / before.passed * 100,
    vcpus, memory: info.totalPages / PAGES_PER_MEBIBYTE, maxMemory: info.maxPages / PAGES_PER_MEBIBYTE,
    claimed: info.outstandingPages / PAGES_PER_MEBIBYTE, pool: info.pool, devices,
  }
  return exits && info.hasRegisters ? Object.assign(statistics, { exits: exitsOf(control, domid) }) : statistics
}

/** What there is to count now; `before` is an earlier sample of the same host. */
export function collectStatistics(source: StatisticsSource, { exits = false }: StatisticsOptions, before?: HostStatistics): HostStatistics {
  const { time, physicalCpus, freeCpus, scheduler, totalFrames, freeFrames, outstandingFrames } = source.control.hostInfo()
  const counters = source.counters()
  const earlier = new Map(before?.domains.map((domain) => [domain.id, domain.cpuTime]))
  const passed = before === undefined ? 0 : time - before.time
  return {
    time, cpus: physicalCpus, freeCpus, scheduler, totalMemory: totalFrames / PAGES_PER_MEBIBYTE,
    freeMemory: (freeFrames - outstandingFrames) / PAGES_PER_MEBIBYTE, claimedMemory: outstandingFrames / PAGES_PER_MEBIBYTE,
    domains: source.control.listDomains().map((info) => {
      const used = earlier.get(info.domid)
      return domainStatistics(source, info, {
        devices: counters.get(info.domid) ?? NONE, exits, before: used === undefined ? undefined : { cpuTime: used, passed },
      })
    }),
    hypercalls: source.control.hypercallCounts(),
  }
}

/** Checks what a sample is asked with. Throws INVALID_ARGUMENT. */
export const checkStatistics = (options: StatisticsOptions): void => checkOptions('statistics', options, { exits: flag })

/** A sample at once, then one after each interval of host time, until the signal fires or the host ends. */
export async function* watchStatistics(source: () => StatisticsSource, options: WatchStatisticsOptions): AsyncGenerator<HostStatistics, void> {
  const { interval: given = '1s', signal } = options
  const interval = parseDuration(given, 'interval')
  let before: HostStatistics | undefined
  for (;;) {
    if (signal?.aborted === true) return
    before = collectStatistics(source(), options, before)
    yield before
    try {
      await source().loop.until('the next statistics', () => false, { timeout: interval, signal })
    } catch (error) {
      if (!XenError.is(error, 'TIMED_OUT')) {
        if (XenError.is(error, 'ABORTED') || XenError.is(error, 'CLOSED')) return
        throw error
      }
    }
  }
}

/** Checks what following is asked with. Throws INVALID_ARGUMENT. */
export const checkWatch = (options: WatchStatisticsOptions): void =>
  checkOptions('watchStatistics', options, { exits: flag, interval: duration({ least: 1 }), signal: abortSignal })
