/** Writing a running domain's core as an operation: the domain stands still meanwhile, unless told otherwise. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { tryRead, type DomId } from '../../util/index.ts'
import { abortable, type Operation, type OperationOptions } from '../run/operation.ts'
import type { Operations } from '../run/operations.ts'
import type { RunLoop } from '../run/run-loop.ts'
import type { ByteOutput } from '../stream/index.ts'
import { writeCoreDump } from './core-dump.ts'

/** How a core is written. */
export interface DumpCoreOptions extends OperationOptions {
  /** Lets the domain run on meanwhile: what is read first is older than what is read last. Default false. */
  readonly live?: boolean | undefined
}

/** How much of a core is written. */
export interface DumpCoreProgress {
  readonly type: 'pages'
  readonly pages: number
  readonly total: number
}

/** What it needs of its host. */
export interface DumpHost {
  readonly control: ControlInterface
  readonly operations: Operations
  readonly loop: RunLoop
}

/** Writes a domain's core. Aborted or failed, the target is given up and the domain goes on as before. */
export function dumpCore(
  { control, operations, loop }: DumpHost, domid: DomId,
  { target, options, check }: { readonly target: ByteOutput; readonly options: DumpCoreOptions; readonly check: () => void },
): Operation<void, DumpCoreProgress> {
  const activity = { kind: 'dumping', doing: 'being dumped' } as const
  const settings = { name: `core dump of domain ${domid}`, domid, activity, signal: tryRead(() => options?.signal), isOutside: true, check }
  return operations.start<void, DumpCoreProgress>(settings, async (context) => {
    const goOn = (): void => {
      if (!control.hasDomain(domid)) return
      control.unpauseDomain(domid)
      loop.kick()
    }
    const stops = options.live !== true
    if (stops) control.pauseDomain(domid)
    let isStill = stops
    context.undo(() => {
      if (isStill) goOn()
    })
    // A target that takes nothing keeps nobody.
    await abortable(writeCoreDump(control, domid, target, {
      wrote: (pages, total) => {
        context.report({ type: 'pages', pages, total })
        context.check()
      },
    }), settings.name, context.signal)
    context.commit()
    isStill = false
    if (stops) goOn()
  })
}
