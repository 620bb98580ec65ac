/**
 * The machine's processors as guests of all kinds get them: how many are left, what their time-stamp counters read.
 * Whether one is hosted or bare, and what its exits mean, is the kind's.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { Processor, ProcessorOptions, VirtualisedProcessor } from '../../../machine/index.ts'
import { XenError } from '../../../util/index.ts'
import type { HostClock } from '../../time/host-clock.ts'
import { DomainTsc, type TscScale, type WideValue } from '../../time/index.ts'

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
  private readonly clock: HostClock
  private readonly tsc: TscScale
  /** vCPUs that have one, or will. */
  private reserved = 0

  constructor(supply: ProcessorSupply, time: { readonly clock: HostClock; readonly tsc: TscScale }) {
    this.supply = supply
    this.clock = time.clock
    this.tsc = time.tsc
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

  /** A processor with a kernel of its own, whose time-stamp counter runs as fast as `counter` says; answers as `create`. */
  createVirtualised(options: Omit<ProcessorOptions, 'timestamp' | 'accounting' | 'mode'>, counter: TscCounter): VirtualisedProcessor | number {
    // The machine makes what the mode says.
    return this.make({ ...options, mode: 'virtualised', timestamp: timestampOf(this.clock, (now) => counter.tsc.ticksAt(now)) }) as VirtualisedProcessor | number
  }

  /** What a processor of the machine's shows to somebody who looks at it once, and gives it back: the same as `create` where there is none. */
  look<T>(at: (processor: Pick<Processor, 'cpuid'>) => T): T | number {
    const processor = this.create({ mode: 'bare' }, new DomainTsc())
    if (typeof processor === 'number') return processor
    const seen = at(processor)
    processor.destroy()
    return seen
  }

  /**
   * A processor: -EOPNOTSUPP on a host without any, -ENOMEM when the machine has no place for it. Its time-stamp counter is the host's, or
   * the one that its domain has at the time.
   */
  create(options: Omit<ProcessorOptions, 'timestamp' | 'accounting'>, view: Pick<DomainTsc, 'countAt'>): Processor | number {
    const { tsc } = this
    return this.make({ ...options, timestamp: timestampOf(this.clock, (now) => view.countAt(now, tsc)) })
  }

  private make(options: Omit<ProcessorOptions, 'accounting'>): Processor | number {
    const { createProcessor } = this.supply
    if (createProcessor === undefined) return -ERRNO.EOPNOTSUPP
    try {
      return createProcessor({ ...options, accounting: 'work' })
    } catch (error) {
      if (XenError.is(error)) return -ERRNO.ENOMEM
      throw error
    }
  }
}

/** Whose time-stamp counters run at a frequency, which may become another one. */
export interface TscCounter {
  readonly tsc: TscScale
}

/** What RDTSC reads in the middle of a run. */
function timestampOf(clock: HostClock, countAt: (now: number) => WideValue): NonNullable<ProcessorOptions['timestamp']> {
  let read = countAt(0)
  return {
    low: (executed: number) => {
      read = countAt(clock.after?.(executed) ?? clock.now())
      return read.low
    },
    high: () => read.high,
  }
}
