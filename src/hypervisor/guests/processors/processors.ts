/**
 * The machine's processors as guests of all kinds get them: how many are left, what their time-stamp counters read.
 * Whether one is hosted or bare, and what its exits mean, is the kind's.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { Processor, ProcessorOptions, VirtualisedProcessor } from '../../../machine/index.ts'
import { XenError } from '../../../util/index.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { TscScale } from '../../time/index.ts'

/** Adds a processor to the machine. */
export type ProcessorFactory = (options: ProcessorOptions) => Processor

/** Where processors come from. */
export interface ProcessorSupply {
  /** Without it there are none. */
  readonly createProcessor?: ProcessorFactory
  /** Most that it can make at a time. Default: any number. */
  readonly processors?: number
}

/** The processors of one host. */
export class Processors {
  private readonly supply: ProcessorSupply
  private readonly timestamp: NonNullable<ProcessorOptions['timestamp']>
  /** vCPUs that have one, or will. */
  private reserved = 0

  constructor(supply: ProcessorSupply, time: { readonly clock: HostClock; readonly tsc: TscScale }) {
    this.supply = supply
    this.timestamp = timestampOf(time)
  }

  /** How many vCPUs more can have one. */
  get free(): number {
    return (this.supply.processors ?? Infinity) - this.reserved
  }

  /** Keeps one for a vCPU, as Xen takes what a vCPU needs when its domain is made. */
  reserve(): void {
    this.reserved += 1
  }

  /** The vCPU that one was kept for is gone. */
  release(): void {
    this.reserved -= 1
  }

  /** A processor with a kernel of its own; answers as `create`. */
  createVirtualised(options: Omit<ProcessorOptions, 'timestamp' | 'accounting' | 'mode'>): VirtualisedProcessor | number {
    // The machine makes what the mode says.
    return this.create({ ...options, mode: 'virtualised' }) as VirtualisedProcessor | number
  }

  /** A processor: -EOPNOTSUPP on a host without any, -ENOMEM when the machine has no place for it. */
  create(options: Omit<ProcessorOptions, 'timestamp' | 'accounting'>): Processor | number {
    const { createProcessor } = this.supply
    if (createProcessor === undefined) return -ERRNO.EOPNOTSUPP
    try {
      return createProcessor({ ...options, accounting: 'work', timestamp: this.timestamp })
    } catch (error) {
      if (XenError.is(error)) return -ERRNO.ENOMEM
      throw error
    }
  }
}

/** What RDTSC reads in the middle of a run. */
function timestampOf({ clock, tsc }: { readonly clock: HostClock; readonly tsc: TscScale }): NonNullable<ProcessorOptions['timestamp']> {
  let read = tsc.ticksAt(0)
  return {
    low: (executed: number) => {
      read = tsc.ticksAt(clock.after?.(executed) ?? clock.now())
      return read.low
    },
    high: () => read.high,
  }
}
