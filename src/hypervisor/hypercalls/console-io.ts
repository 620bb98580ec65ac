/**
 * console_io: the hypervisor's own console. What dom0 could read from it is the toolstack's here.
 * Reference: public/xen.h, CONSOLEIO_*; xen/drivers/char/console.c, do_console_io.
 */
import { CONSOLEIO, ERRNO } from '../../abi/index.ts'
import type { HypervisorConsole } from '../console/console.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'

/** Bytes of one console write that are taken; Xen does 128 at a time. */
const CONSOLE_CHUNK = 128

/** console_io(command, count, buffer): writing only. */
export function consoleIo(console: HypervisorConsole, meter: WorkMeter): HypercallHandler {
  const chunk = new Uint8Array(CONSOLE_CHUNK)
  return (caller, args) => {
    const command = args.u32(0)
    if (command === CONSOLEIO.read) return caller.owner.privileged ? 0 : -ERRNO.EPERM
    if (command !== CONSOLEIO.write) return -ERRNO.ENOSYS
    let address = args.address(2)
    let left = args.u32(1)
    for (; left > 0 && !meter.isSpent;) {
      const part = chunk.subarray(0, Math.min(left, CONSOLE_CHUNK))
      if (!caller.access.read(address, part)) return -ERRNO.EFAULT
      if (!console.write(caller.domid, part)) return 0
      meter.charge(part.length * WORK.character)
      left -= part.length
      address += part.length
    }
    if (left === 0) return 0
    args.set(1, left)
    args.set(2, address)
    return CALL_AGAIN
  }
}
