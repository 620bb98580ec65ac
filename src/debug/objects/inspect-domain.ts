/** A domain looked at from outside, as objects: its page tables, event channels, grants and rings as they stand at the moment. Nothing is changed, and nothing is put into the guest. */
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from '../../abi/index.ts'
import type { GrantRecord, PortRecord } from '../../hypervisor/index.ts'
import type { DomainReference, Host } from '../../toolstack/index.ts'
import { checkArgument, having, oneOf, whole, XenError, type Mfn } from '../../util/index.ts'
import { CR0, CR4, PAGE_SHIFT } from '../../x86/index.ts'
import { attempt } from '../memory/virtual-memory.ts'
import { PageTables } from './page-tables.ts'
import { byteRings, deviceRings, type ByteRingView, type SharedRing } from './rings.ts'

/** Which page tables are meant. */
export interface PageTableOptions {
  /** Default 0. */
  readonly vcpu?: number | undefined
  /** Of a 64-bit PV guest: those that its processes run with, and those of the kernel, which is the default. Others have one. */
  readonly of?: 'kernel' | 'user' | undefined
  /** Others than those in force: the linear address of a top-level table, such as a Linux task's `pageTables`. */
  readonly root?: number | bigint | undefined
}

/** One domain. Have it stand where what is read must fit together. */
export interface DomainObjects {
  /** Page tables of a vCPU. Throws INVALID_STATE where it has none, NOT_SUPPORTED for tables of 32-bit entries, INVALID_ARGUMENT for a root that is not mapped. */
  pageTables(options?: PageTableOptions): PageTables
  /** Event channels in use. */
  ports(): readonly PortRecord[]
  /** What it grants to others. */
  grants(): readonly GrantRecord[]
  /** Rings of its front-ends, of its console and of XenStore. */
  rings(): readonly (SharedRing | ByteRingView)[]
}

class Objects implements DomainObjects {
  private readonly host: Host
  private readonly reference: DomainReference

  constructor(host: Host, reference: DomainReference) {
    this.host = host
    this.reference = reference
  }

  private get domain(): ReturnType<Host['domain']> {
    return this.host.domain(this.reference)
  }

  pageTables({ vcpu = 0, of = 'kernel', root }: PageTableOptions = {}): PageTables {
    const { domain, host: { hypervisor } } = this
    const { addressSize, translated, hasRegisters } = domain.info()
    if (!hasRegisters) throw new XenError('INVALID_STATE', 'a guest in TypeScript has no page tables', { details: { domid: domain.id } })
    checkArgument('the vCPU of pageTables', vcpu, whole(0, domain.config.maxVcpus - 1))
    checkArgument('of of pageTables', of, oneOf('kernel', 'user'))
    const context = hypervisor.getVcpuContext(domain.id, vcpu)
    if (translated && (context.cr0 & BigInt(CR0.PG)) === 0n) throw new XenError('INVALID_STATE', `vCPU ${vcpu} has paging off`, { details: { domid: domain.id, vcpu } })
    if (translated && (context.cr4 & BigInt(CR4.PAE)) === 0n) throw new XenError('NOT_SUPPORTED', 'tables of 32-bit entries are not read', { details: { domid: domain.id, vcpu } })
    const read = (frame: number): Uint8Array | undefined => attempt(() => {
      const own = translated ? hypervisor.frameOfGfn(domain.id, frame) : frame as Mfn
      return own === undefined ? undefined : hypervisor.frameBytes(domain.id, own)
    })
    return new PageTables({ root: root === undefined ? (of === 'user' ? context.userTable : context.kernelTable) : this.rootAt(root), levels: addressSize === 32 ? 3 : 4, read })
  }

  /** The frame that a linear address of a table leads to, as the guest numbers it. */
  private rootAt(address: number | bigint): number {
    const linear = BigInt.asUintN(64, BigInt(address))
    const inForce = this.pageTables().walk(linear).page
    if (inForce === undefined) throw new XenError('INVALID_ARGUMENT', `0x${linear.toString(16)} is not mapped`, { details: { address } })
    return inForce.frame + Number((linear - inForce.address) >> BigInt(PAGE_SHIFT))
  }

  ports(): readonly PortRecord[] {
    return this.host.hypervisor.listPorts(this.domain.id)
  }

  grants(): readonly GrantRecord[] {
    return this.host.hypervisor.listGrants(this.domain.id)
  }

  rings(): readonly (SharedRing | ByteRingView)[] {
    const { host: { store, hypervisor }, domain: { id } } = this
    const frames = new Map(this.grants().map(({ ref, frame }) => [ref, frame] as const))
    const source = {
      list: (path: string) => attempt(() => store.list(`/local/domain/${id}/${path}`)) ?? [], read: (path: string) => attempt(() => store.read(`/local/domain/${id}/${path}`)),
      page: (ref: number) => {
        const frame = frames.get(ref)
        return frame === undefined ? undefined : attempt(() => hypervisor.frameBytes(id, frame as Mfn))
      },
    }
    return [...deviceRings(source), ...byteRings(source, { console: GNTTAB_RESERVED_CONSOLE, xenstore: GNTTAB_RESERVED_XENSTORE })]
  }
}

/**
 * What a domain has of the hypervisor, as objects for code. Throws DOMAIN_NOT_FOUND, INVALID_ARGUMENT.
 *
 * @example
 * const { ports, grants } = inspectDomain(host, 'web')
 * console.log(inspectDomain(host, 'web').pageTables().regions().length)
 */
export function inspectDomain(host: Host, reference: DomainReference): DomainObjects {
  checkArgument('the host of inspectDomain', host, having('domain', 'now'))
  return new Objects(host, host.domain(reference).id)
}
