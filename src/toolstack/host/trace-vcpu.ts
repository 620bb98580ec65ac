/** Watching a vCPU at work through a handle: a hook that stops the domain pauses it, which is told as any pause is. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { Trace, TraceHooks } from '../../machine/index.ts'
import type { DomId } from '../../util/index.ts'

/** What it needs of the host. */
export interface TraceHost {
  readonly control: ControlInterface
  emitPaused(domid: DomId, paused: boolean): void
}

/** Begins to watch. Throws INVALID_STATE for a guest written in TypeScript. */
export function traceVcpu(
  host: TraceHost, domid: DomId, { hooks, vcpu }: { readonly hooks: TraceHooks, readonly vcpu: number },
): Trace {
  const trace = host.control.traceVcpu(domid, vcpu, hooks)
  const forget = host.control.events.on('vcpu-stopped', (event) => {
    if (event.domid === domid && event.vcpu === vcpu) host.emitPaused(domid, true)
  })
  return {
    stop: () => {
      forget()
      trace.stop()
    },
    get active() {
      return trace.active
    },
    get error() {
      return trace.error
    },
  }
}
