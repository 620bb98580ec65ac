/**
 * Who may act for whom. The one question that every hypercall with a domain argument asks.
 * Reference: xen/include/xsm/dummy.h, the default policy; xen/arch/x86/mm.c, get_pg_owner.
 */
import { DOMID, ERRNO } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import type { Domain } from './domain.ts'

/** Domains by number. */
export class DomainRegistry {
  private readonly domains = new Map<number, Domain>()

  add(domain: Domain): void {
    this.domains.set(domain.id, domain)
  }

  remove(domain: Domain): void {
    this.domains.delete(domain.id)
  }

  /** Any domain, dying ones included. */
  get(id: number): Domain | undefined {
    return this.domains.get(id)
  }

  /** By number, in ascending order. */
  all(): Domain[] {
    return [...this.domains.values()].sort((a, b) => a.id - b.id)
  }

  /** In the order in which they were made. */
  byAge(): Domain[] {
    return [...this.domains.values()]
  }

  /** True when `caller` may act for `target`: itself, or anybody for a privileged domain. */
  mayControl(caller: number, target: number): boolean {
    return caller === target || this.domains.get(caller)?.privileged === true
  }

  /** The domain that `id` means to `caller`: itself for SELF or its own number; undefined when there is none. */
  resolve(caller: Domain, id: number): Domain | undefined {
    return id === DOMID.SELF ? caller : this.domains.get(id)
  }

  /**
   * Owner of frames that a page-table operation names: the caller for SELF, DOMID_IO and DOMID_XEN for a privileged
   * caller, another domain that it may control. Naming oneself by number is refused. Negative: error number.
   */
  frameOwner(caller: Domain, id: number): number {
    if (id === DOMID.SELF) return caller.id
    if (id === caller.id) return -ERRNO.ESRCH
    if (id !== DOMID.IO && id !== DOMID.XEN && !this.domains.has(id)) return -ERRNO.ESRCH
    if (id !== DOMID.IO && !caller.privileged) return -ERRNO.EPERM
    return id
  }

  /** Lowest free number from `from` up to the reserved ones, or undefined. */
  freeId(from: number): DomId | undefined {
    for (let step = 0; step < DOMID.FIRST_RESERVED; step += 1) {
      const id = (from + step) % DOMID.FIRST_RESERVED
      if (!this.domains.has(id)) return id as DomId
    }
    return undefined
  }
}
