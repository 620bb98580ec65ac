/** What the one who makes a hypervisor brings along and may choose. */
import type { DomId, Random } from '../util/index.ts'
import type { PolicyChoice } from './domains/access.ts'
import type { FrameRows } from './frames/frame-rows.ts'
import type { CpuidPolicy } from './guests/processors/cpuid.ts'
import type { ProcessorFactory } from './guests/processors/processors.ts'
import type { GuestMemory } from './memory/guest-memory.ts'
import type { HypervisorInterference } from './interference.ts'
import type { WriteTracking } from './memory/write-tracking.ts'
import type { SchedulerName } from './scheduler/index.ts'
import type { HostClock } from './time/host-clock.ts'

/** What a hypervisor is made of. */
export interface HypervisorOptions {
  /** Host memory; with write tracking where domains are to be migrated. */
  readonly memory: GuestMemory & Partial<WriteTracking>
  readonly clock: HostClock
  readonly random: Random
  /** Makes processors for binary guests; without it only guests in TypeScript run. */
  readonly createProcessor?: ProcessorFactory
  /** Most processors that `createProcessor` can make at a time: domains whose vCPUs would be more are refused. */
  readonly processors?: number
  /** Who may ask what of whom: `dummy`, Xen's own rules (the default), `silo`, which keeps unprivileged domains from each other, or your own. */
  readonly policy?: PolicyChoice | undefined
  /** Default credit2. */
  readonly scheduler?: SchedulerName
  /** Its parameters as a whole, such as `ratelimit` in microseconds; those that are left out have its defaults. */
  readonly schedulerParameters?: Readonly<Record<string, number>>
  /** Physical CPUs of the model. Default 1. */
  readonly physicalCpus?: number
  /** Rate of the time-stamp counter. Default 1,000,000 kHz, one tick for each instruction of the default clock. */
  readonly tscKilohertz?: number
  /** Calendar time at host boot, nanoseconds since 1970. Default 0. */
  readonly bootTime?: bigint
  /** The hypervisor's own command line, as a privileged domain reads it. */
  readonly commandLine?: string
  /**
   * The domain that is told what is typed at the hypervisor's console, unless a toolstack sends VIRQ_CONSOLE elsewhere. Default 0; another
   * one where domain 0 is but the one that builds it, as with Xen's own option `hardware_dom`.
   */
  readonly hardwareDomain?: DomId | undefined
  /** Changes what CPUID tells guests. */
  readonly cpuidPolicy?: CpuidPolicy
  /**
   * Work, in instructions, after which a long hypercall pauses and lets others run. Default 200,000; 1 pauses wherever
   * that is possible.
   */
  readonly portion?: number
  /**
   * The frame table of a hypervisor that there was before over this memory, which holds what that one left in it: nothing is written
   * to either until the new one is loaded.
   */
  readonly before?: FrameRows
  /** What comes between guests and the hypervisor, for tests; absent: nothing, at no cost. */
  readonly interference?: HypervisorInterference
  /** Hears of listeners that threw. */
  readonly onListenerError?: (error: unknown) => void
}
