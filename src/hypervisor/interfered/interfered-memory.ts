/** Frames that are refused, and grants that cannot be used, where somebody interferes. */
import type { DomId } from '../../util/index.ts'
import { DomainMemory, type DomainMemoryParts, type FrameOwner } from '../frames/domain-memory.ts'
import { GrantTables, type CopyRequest, type GrantCaller, type MapRequest, type MapResult, type MappingHost } from '../grants/index.ts'
import type { HypervisorInterference } from '../interference.ts'

/** Frames between allocator and domains. */
export class InterferedMemory extends DomainMemory {
  private readonly interference: HypervisorInterference

  constructor(parts: DomainMemoryParts, interference: HypervisorInterference) {
    super(parts)
    this.interference = interference
  }

  override allocateRun(domain: FrameOwner, order: number): number {
    return this.interference.allocation?.(domain.id, 2 ** order) === true ? -1 : super.allocateRun(domain, order)
  }

  /** One after the other, as each may be refused. */
  override allocateSingles(domain: FrameOwner, most: number, given: (first: number, end: number) => void): number {
    if (this.interference.asks === false) return super.allocateSingles(domain, most, given)
    for (let count = 0; count < most; count += 1) {
      const mfn = this.allocateRun(domain, 0)
      if (mfn < 0) return count
      given(mfn, mfn + 1)
    }
    return most
  }
}

/** The grant tables of one host. */
export class InterferedGrants<V extends GrantCaller> extends GrantTables<V> {
  private readonly interference: HypervisorInterference

  constructor(host: MappingHost<V>, interference: HypervisorInterference) {
    super(host)
    this.interference = interference
  }

  override map(caller: V, request: MapRequest): MapResult {
    if (this.interference.asks === false) return super.map(caller, request)
    const status = this.interference.grant?.({ action: 'map', domid: caller.domid, remote: request.domid, ref: request.ref })
    return status === undefined ? super.map(caller, request) : { status, handle: 0, mfn: 0 }
  }

  override copy(caller: DomId, request: CopyRequest): number {
    if (this.interference.asks === false) return super.copy(caller, request)
    const { source, destination } = request
    const side = source.isGrant ? source : destination
    const status = this.interference.grant?.({ action: 'copy', domid: caller, remote: side.domid, ref: side.number })
    return status ?? super.copy(caller, request)
  }
}
