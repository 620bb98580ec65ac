/** How schedulers name a vCPU. */
import type { DomId } from '../../util/index.ts'

/** A vCPU as schedulers name it. They keep the object and hand it back. */
export interface VcpuRef {
  readonly domid: DomId
  readonly vcpu: number
}
