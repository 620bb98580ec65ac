/**
 * Who may act for whom. The one question that every hypercall with a domain argument asks.
 * Reference: xen/include/xsm/dummy.h, the default policy; xen/arch/x86/mm.c, get_pg_owner.
 */
import { DOMID, ERRNO } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import type { Domain } from './domain.ts'

/** Whoever has rules of its own about what privileged domains may do. */
export interface PrivilegeRules {
  mayDo(operation: string, caller: number, target: number | undefined): boolean
}

/** Domains by number. */
export class DomainRegistry {
  private readonly domains = new Map<number, Domain>()
  /** Those that have shut down or are being taken apart: whoever hears of an end asks for them, however many others there are. */
  private readonly over = new Set<Domain>()
  private rules: PrivilegeRules | undefined

  /** Says who decides about privileged operations in the ABI's place. */
  connect(rules: PrivilegeRules): void {
    this.rules = rules
  }

  add(domain: Domain): void {
    this.domains.set(domain.id, domain)
    domain.onEnd = () => {
      if (domain.isShutDown || domain.dying) this.over.add(domain)
      else this.over.delete(domain)
    }
    domain.onEnd()
  }

  remove(domain: Domain): void {
    domain.onEnd = undefined
    this.over.delete(domain)
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

  /** Those that have shut down or are being taken apart, by number. */
  ended(): Domain[] {
    return [...this.over].sort((a, b) => a.id - b.id)
  }

  /** True when none can run now. */
  isQuiet(): boolean {
    for (const { pauseCount, isShutDown, dying, vcpus } of this.domains.values()) {
      if (pauseCount > 0 || isShutDown || dying) continue
      const online = vcpus.filter((vcpu) => vcpu.online)
      if (online.length === 0 || !online.every((vcpu) => vcpu.blocked)) return false
    }
    return true
  }

  /** In the order in which they were made. */
  byAge(): Domain[] {
    return [...this.domains.values()]
  }

  /** True when `caller` may act for `target` by an operation: itself, or anybody for a privileged domain. */
  mayControl(caller: number, target: number, operation: string): boolean {
    return caller === target || this.mayDo(caller, operation, target)
  }

  /** True when `caller` may do what privileged domains may: an operation that is about a domain, or about the host. */
  mayDo(caller: number, operation: string, target?: number): boolean {
    return this.rules === undefined ? this.domains.get(caller)?.privileged === true : this.rules.mayDo(operation, caller, target)
  }

  /** The domain that `id` means to `caller`: itself for SELF or its own number; undefined when there is none. */
  resolve(caller: Domain, id: number): Domain | undefined {
    return id === DOMID.SELF ? caller : this.domains.get(id)
  }

  /**
   * Owner of frames that a page-table operation names: the caller for SELF, DOMID_IO and DOMID_XEN for a privileged
   * caller, another domain that it may control. Naming oneself by number is refused. Negative: error number.
   */
  frameOwner(caller: Domain, id: number, operation: string): number {
    if (id === DOMID.SELF) return caller.id
    if (id === caller.id) return -ERRNO.ESRCH
    if (id !== DOMID.IO && id !== DOMID.XEN && !this.domains.has(id)) return -ERRNO.ESRCH
    if (id !== DOMID.IO && !this.mayDo(caller.id, operation, id)) return -ERRNO.EPERM
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
