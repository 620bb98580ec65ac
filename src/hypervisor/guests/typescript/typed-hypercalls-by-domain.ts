/** The typed hypercall doors of all domains: each is made when it is first asked for. */
import type { Domain } from '../../domains/domain.ts'
import { TypedHypercalls, type TypedHypercallParts } from './typed-hypercalls.ts'

/** Doors by domain. */
export class TypedHypercallsByDomain {
  private readonly parts: TypedHypercallParts
  private readonly calls = new Map<Domain, TypedHypercalls>()

  constructor(parts: TypedHypercallParts) {
    this.parts = parts
  }

  /** The door of a domain. */
  of(domain: Domain): TypedHypercalls {
    const known = this.calls.get(domain)
    if (known !== undefined) return known
    const calls = new TypedHypercalls(this.parts, domain)
    this.calls.set(domain, calls)
    return calls
  }

  /** The domain is gone. */
  forget(domain: Domain): void {
    this.calls.delete(domain)
  }
}
