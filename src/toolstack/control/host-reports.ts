/** What a host tells of itself on being asked: facts, statistics, the hypervisor's console. */
import type { ProcessorLevel } from '../../machine/index.ts'
import { checkOptions, flag, XenError } from '../../util/index.ts'
import { pressDebugKeys } from './debug-keys.ts'
import { hostFacts, type HostFacts } from './host-facts.ts'
import type { ControlSeat } from './control-seat.ts'
import {
  checkStatistics, checkWatch, collectStatistics, watchStatistics,
  type HostStatistics, type StatisticsOptions, type StatisticsSource, type WatchStatisticsOptions,
} from './statistics.ts'

/** What it reads. */
export interface ReportSource extends StatisticsSource {
  readonly seat: ControlSeat
  readonly cpu: ProcessorLevel
  /** Xen's own command line. */
  readonly commandLine: string
}

/** The reports of one host. `source` is asked anew each time: a host that was brought back has another one. */
export class HostReports {
  private readonly source: () => ReportSource

  constructor(source: () => ReportSource) {
    this.source = source
  }

  facts(): HostFacts {
    const { control, cpu, commandLine } = this.source()
    return hostFacts({ control, cpu, commandLine, release: 'paravirt' })
  }

  /** The hypervisor's console ring; `clear` empties it. */
  console(options: { readonly clear?: boolean | undefined }): string {
    checkOptions('dmesg', options, { clear: flag })
    const { seat, control } = this.source()
    const { clear = false } = options
    return clear ? seat.enter({ name: 'dmesg', arguments: [{ clear }] }, () => control.readConsole({ clear })) : control.readConsole()
  }

  debugKeys(keys: string): void {
    if (typeof keys !== 'string' || keys.length > 64) throw new XenError('INVALID_ARGUMENT', 'debug keys are a text of at most 64 letters', { details: { keys } })
    const { seat, control } = this.source()
    seat.enter({ name: 'debugKeys', arguments: [keys] }, () => pressDebugKeys({ control }, keys))
  }

  statistics(options: StatisticsOptions): HostStatistics {
    checkStatistics(options)
    return collectStatistics(this.source(), options)
  }

  watch(options: WatchStatisticsOptions): AsyncGenerator<HostStatistics, void> {
    checkWatch(options)
    return watchStatistics(this.source, options)
  }
}
