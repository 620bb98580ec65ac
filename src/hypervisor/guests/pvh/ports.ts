/**
 * I/O ports of PVH guests: none has a device, but for the one that writes to the hypervisor's console. Reads give ones,
 * writes go nowhere: the power-management and hot-plug registers that ACPI tables name are served by a device model, which
 * such domains have not.
 * Reference: xen/arch/x86/hvm/hvm.c, hvm_print_line; xen/arch/x86/hvm/emulate.c, hvmemul_do_io (null_handler).
 */
import type { PortSource } from '../../../machine/index.ts'
import type { HypervisorConsole } from '../../console/console.ts'
import type { PvhVcpu } from './pvh-vcpu.ts'

/** A character for the console. */
const CONSOLE_PORT = 0xe9

/** Ports of all PVH vCPUs. */
export class PvhPorts {
  private readonly console: HypervisorConsole

  constructor(console: HypervisorConsole) {
    this.console = console
  }

  /** Those of one vCPU. */
  of({ vcpu }: PvhVcpu): PortSource {
    return {
      read: () => 0xffff_ffff,
      write: (port, size, value) => {
        if (port === CONSOLE_PORT && size === 1) this.console.write(vcpu.domid, Uint8Array.of(value))
      },
    }
  }
}
