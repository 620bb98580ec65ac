/** Registers as debuggers have them: what a vCPU's context has, and what is not in it. */
import type { VcpuContext } from '../../hypervisor/index.ts'

/** Registers of a vCPU, or of a thread of a program. */
export interface ThreadContext extends VcpuContext {
  /** The number of the system call that a program's thread is in; undefined where it is in none. */
  readonly systemCall?: bigint
  /** XCR0, what it ever was, and the state as XSAVE writes it; undefined where there is no more than the context has. */
  readonly extended?: Uint8Array | undefined
}
