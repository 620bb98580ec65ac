/**
 * Kinds of guests: the seam by which the hypervisor runs binary PV guests and guests in TypeScript without knowing which
 * is which. A kind is a folder of guests/ that exports one function, which makes it of the hypervisor's parts; a host has
 * the kinds that its composition names.
 */
import { invariant } from '../../util/index.ts'
import type { Domain, Vcpu } from './domain.ts'
import type { DomainKind } from './domain-kind.ts'
import type { HypercallTable } from './hypercall.ts'

/** A kind of guest. */
export interface GuestKind extends DomainKind<Vcpu> {
  /** The hypercalls of all kinds, and its own. */
  readonly hypercalls: HypercallTable
}

/** The kinds of guests that a host has, by name. */
export class GuestKinds {
  private readonly kinds = new Map<string, GuestKind>()

  add(kind: GuestKind): void {
    this.kinds.set(kind.name, kind)
  }

  get(name: string): GuestKind | undefined {
    return this.kinds.get(name)
  }

  /** The kind of a domain. */
  of(domain: Domain): GuestKind {
    const kind = this.kinds.get(domain.kind.name)
    // A domain was made by one of the kinds that are here.
    if (kind === undefined) invariant(false, `there is no kind of guest ${domain.kind.name}`)
    return kind
  }

  /** Names, in the order in which the kinds were added. */
  names(): string {
    return [...this.kinds.keys()].join(', ')
  }

  /** In the order in which they were added. */
  all(): GuestKind[] {
    return [...this.kinds.values()]
  }
}
