/**
 * The operation of sysctl on the trace buffers, by which xentrace has them made, finds them and begins.
 * Reference: xen/common/trace.c, tb_control.
 */
import { ERRNO, SysctlTbufOp, TBUFOP } from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { readBitmap } from '../binary/bitmaps.ts'
import { answering } from '../binary/control-call.ts'
import { SYSCTL_ARGUMENT, type SysctlCall, type SysctlParts } from './sysctl-call.ts'

/** tbuf_op. */
function traceBuffers({ trace, scheduler }: SysctlParts, call: SysctlCall): number {
  const { view } = call
  switch (SysctlTbufOp.cmd.get(view, SYSCTL_ARGUMENT)) {
    case TBUFOP.get_info:
      SysctlTbufOp.evtMask.set(view, SYSCTL_ARGUMENT, trace.mask)
      SysctlTbufOp.bufferMfn.setNumber(view, SYSCTL_ARGUMENT, trace.infoFrame)
      SysctlTbufOp.bufferBytes.set(view, SYSCTL_ARGUMENT, trace.infoFrame === 0 ? 0 : PAGE_SIZE)
      return 0
    case TBUFOP.set_cpu_mask: {
      const cpus = readBitmap(call, SysctlTbufOp.cpuMask.at(SYSCTL_ARGUMENT), scheduler.cpuCount)
      if (typeof cpus === 'number') return cpus
      trace.setCpus(cpus)
      return 0
    }
    case TBUFOP.set_evt_mask:
      trace.mask = SysctlTbufOp.evtMask.get(view, SYSCTL_ARGUMENT)
      return 0
    case TBUFOP.set_size: return trace.setSize(SysctlTbufOp.bufferBytes.get(view, SYSCTL_ARGUMENT))
    case TBUFOP.enable: return trace.enable()
    case TBUFOP.disable:
      trace.disable()
      return 0
    default: return -ERRNO.EINVAL
  }
}

/** The operation, by the name of its number. */
export const traceOperations = (parts: SysctlParts) => ({
  tbuf_op: answering(
    (call: SysctlCall) => traceBuffers(parts, call),
    partial('run states, changes of CPUs, waking and blocking, domains and hypercalls are recorded; the list of buffers is one page'),
  ),
})
