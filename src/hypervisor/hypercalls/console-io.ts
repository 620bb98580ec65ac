/**
 * console_io: the hypervisor's own console. A privileged domain reads what is typed at it.
 * Reference: public/xen.h, CONSOLEIO_*; xen/drivers/char/console.c, do_console_io.
 */
import { CONSOLEIO, ERRNO } from '../../abi/index.ts'
import type { HypervisorConsole } from '../console/console.ts'
import type { HypercallHandler, HypercallRow } from '../domains/hypercall.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed } from '../domains/hypercall-rows.ts'

/** Bytes of one console write that are taken; Xen does 128 at a time. */
const CONSOLE_CHUNK = 128

/** CONSOLEIO_write(count, buffer). */
function write(console: HypervisorConsole, meter: WorkMeter): HypercallHandler {
  const chunk = new Uint8Array(CONSOLE_CHUNK)
  return (caller, args) => {
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

/** CONSOLEIO_read(count, buffer): how many bytes were there. */
function read(console: HypervisorConsole): HypercallHandler {
  return (caller, args) => {
    if (!caller.owner.privileged) return -ERRNO.EPERM
    const bytes = console.typedBytes(args.u32(1))
    if (bytes.length > 0 && !caller.access.write(args.address(2), bytes)) return -ERRNO.EFAULT
    console.taken(bytes.length)
    return bytes.length
  }
}

/** Makes the row of console_io(command, count, buffer). */
export function consoleIo(console: HypervisorConsole, meter: WorkMeter): HypercallRow {
  const rows: Operations<typeof CONSOLEIO, Operation> = {
    write: { support: FULL, run: write(console, meter) },
    read: { support: FULL, run: read(console) },
  }
  return {
    name: 'console_io', handler: byFirstArgument(CONSOLEIO, rows), source: 'public/xen.h, CONSOLEIO_*; do_console_io',
    operations: [listed('CONSOLEIO_', CONSOLEIO, rows)],
  }
}
