/** The typed hypercall doors of all domains: each is made when it is first asked for. */
import type { Access } from '../../domains/access.ts'
import type { Domain } from '../../domains/domain.ts'
import { guardHypercalls } from './guarded-hypercalls.ts'
import { TypedHypercalls, type TypedHypercallParts } from './typed-hypercalls.ts'

/** What doors work on, and who may go through them. */
export interface TypedDoorParts extends TypedHypercallParts {
  readonly access: Access
}

/** Doors by domain. */
export class TypedHypercallsByDomain {
  private readonly parts: TypedDoorParts
  private readonly calls = new Map<Domain, TypedHypercalls>()
  private readonly make: (parts: TypedHypercallParts, domain: Domain) => TypedHypercalls

  /** `make`: another door than the usual one. */
  constructor(parts: TypedDoorParts, make?: (parts: TypedHypercallParts, domain: Domain) => TypedHypercalls) {
    this.parts = parts
    this.make = make ?? ((own, domain) => new TypedHypercalls(own, domain))
  }

  /** The door of a domain. */
  of(domain: Domain): TypedHypercalls {
    const known = this.calls.get(domain)
    if (known !== undefined) return known
    const { access } = this.parts
    const door = this.make(this.parts, domain)
    const calls = access.asksHypercalls ? guardHypercalls(door, { domid: domain.id, privileged: domain.privileged }, access) : door
    this.calls.set(domain, calls)
    return calls
  }

  /** The domain is gone. */
  forget(domain: Domain): void {
    this.calls.delete(domain)
  }
}
