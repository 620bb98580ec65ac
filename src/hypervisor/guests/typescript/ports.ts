/** The typed hypercall doors of all domains: each is made when it is first asked for. */
import type { Domain } from '../../domains/domain.ts'
import { DomainPort, type PortParts } from './port.ts'

/** Doors by domain. */
export class DomainPorts {
  private readonly parts: PortParts
  private readonly ports = new Map<Domain, DomainPort>()

  constructor(parts: PortParts) {
    this.parts = parts
  }

  /** The door of a domain. */
  of(domain: Domain): DomainPort {
    const known = this.ports.get(domain)
    if (known !== undefined) return known
    const port = new DomainPort(this.parts, domain)
    this.ports.set(domain, port)
    return port
  }

  /** The domain is gone. */
  forget(domain: Domain): void {
    this.ports.delete(domain)
  }
}
