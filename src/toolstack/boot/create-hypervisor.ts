/** Puts a hypervisor on a machine: processors for binary guests come from the machine, time from the host's clock. */
import { Hypervisor, SCHEDULER_NAMES, type HostClock, type HypervisorOptions } from '../../hypervisor/index.ts'
import { SeededRandom, type Random } from '../../util/index.ts'
import type { XenOptions } from '../grub/xen-options.ts'
import { checkedEntropy, type TellFailure } from '../run/callback-failures.ts'
import type { ResolvedHostOptions } from './host-options.ts'
import type { Ground } from './ground.ts'
import { hardwareDomainOf } from '../initial-domain/hardware-domain.ts'
import { MOST_VCPUS } from './machine-size.ts'

/** What a hypervisor is made from. */
export interface HypervisorSettings {
  readonly ground: Ground
  readonly options: ResolvedHostOptions
  readonly clock: HostClock
  readonly random: Random
  /** Xen's options, which count where no setting says otherwise. */
  readonly xen: XenOptions
  /** Xen's own command line. */
  readonly commandLine: string
  /** Hears of entropy that failed. */
  readonly onCallbackFailed: TellFailure
}

/** Any number that no other use of the seed has. */
const PROCESSOR_SEEDS = 0x7264_7264

/** A host's hypervisor, and the numbers that its next processors' chance begins with. */
export interface MadeHypervisor {
  readonly control: Hypervisor
  readonly seeds: SeededRandom
}

/** The scheduler with its parameters; of those that a command line gives, one that another scheduler has means nothing, as to Xen. */
function schedulerOf({ scheduler, schedulerParameters }: ResolvedHostOptions, xen: XenOptions): Pick<HypervisorOptions, 'scheduler' | 'schedulerParameters'> {
  const name = scheduler ?? xen.scheduler ?? SCHEDULER_NAMES[0]
  const { ratelimit, tslice } = xen
  return {
    scheduler: name,
    schedulerParameters: {
      ...(ratelimit !== undefined && (name === 'credit' || name === 'credit2') ? { ratelimit } : {}),
      ...(tslice !== undefined && name === 'credit' ? { tslice } : {}),
      ...schedulerParameters,
    },
  }
}

/** Makes a hypervisor on its ground. */
export function createHypervisor(settings: HypervisorSettings): MadeHypervisor {
  const { ground: { machine, before }, options, clock, random, xen, commandLine } = settings
  // Its own stream, so that the number of processors changes nothing else.
  const seeds = new SeededRandom(options.seed ^ PROCESSOR_SEEDS)
  const hardwareDomain = hardwareDomainOf(options)
  const entropy = options.entropy && checkedEntropy(options.entropy, settings.onCallbackFailed)
  const control = new Hypervisor({
    memory: machine.memory, clock, random, commandLine, processors: MOST_VCPUS,
    createProcessor: (processor) =>
      machine.createProcessor({ ...processor, random: entropy ?? new SeededRandom(seeds.next()) }),
    physicalCpus: options.cpus, policy: options.policy,
    // One tick for each instruction of virtual time.
    tscKilohertz: Math.round(options.instructionsPerSecond / 1000),
    bootTime: BigInt(options.bootTime.getTime()) * 1_000_000n,
    ...schedulerOf(options, xen),
    ...(before === undefined ? {} : { before }), ...(hardwareDomain === undefined ? {} : { hardwareDomain }),
    ...(options.interference?.hypervisor === undefined ? {} : { interference: options.interference.hypervisor }),
  })
  return { control, seeds }
}
