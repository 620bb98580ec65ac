/** Where a domain can be: what keeps it from a host, in words, and which host is best for it. Pure functions of a fleet's state. */
import type { FleetDomain, FleetHost, FleetState } from './fleet-state.ts'

/** What keeps a domain from a host. */
export interface Obstacle {
  readonly host: string
  readonly why: string
}

/** A state that a plan is being made on. */
export class Draft {
  readonly hosts: ReadonlyMap<string, FleetHost>
  readonly domains: ReadonlyMap<string, FleetDomain>
  /** The host of each domain that has one which is there. */
  private readonly places = new Map<string, string>()
  private readonly used = new Map<string, { memory: number; vcpus: number }>()
  private readonly residents = new Map<string, Set<string>>()

  constructor({ hosts, domains, owners }: FleetState) {
    this.hosts = hosts
    this.domains = domains
    for (const [domain, owner] of owners) this.put(domain, owner.to ?? owner.host)
  }

  /** The host of a domain; undefined where it has none that is there. */
  hostOf(domain: string): string | undefined {
    const host = this.places.get(domain)
    return host !== undefined && this.hosts.has(host) ? host : undefined
  }

  /** Domains on a host. */
  on(host: string): readonly string[] {
    return [...this.residents.get(host) ?? []]
  }

  /** MiB that a host has free. */
  free(host: string): number {
    return (this.hosts.get(host)?.memory ?? 0) - (this.used.get(host)?.memory ?? 0)
  }

  /** The share of a host's memory that is used. */
  load(host: string): number {
    const { memory } = this.hosts.get(host) ?? { memory: 0 }
    return memory === 0 ? 1 : 1 - this.free(host) / memory
  }

  /** Puts a domain on a host, or on none. */
  put(name: string, host: string | undefined): void {
    const before = this.places.get(name)
    const domain = this.domains.get(name)
    const add = (place: string, sign: 1 | -1): void => {
      const used = this.used.get(place) ?? { memory: 0, vcpus: 0 }
      this.used.set(place, { memory: used.memory + sign * (domain?.memory ?? 0), vcpus: used.vcpus + sign * (domain?.vcpus ?? 0) })
    }
    if (before !== undefined) {
      add(before, -1)
      this.residents.get(before)?.delete(name)
    }
    if (host === undefined) return void this.places.delete(name)
    this.places.set(name, host)
    add(host, 1)
    this.residents.set(host, (this.residents.get(host) ?? new Set()).add(name))
  }

  /** What keeps a domain from a host that it is not on; undefined where nothing does. */
  obstacle(domain: FleetDomain, { name, isDraining, capabilities, cpus }: FleetHost): string | undefined {
    if (isDraining) return 'it is to be emptied'
    const lacking = domain.requires.find((each) => !capabilities.includes(each))
    if (lacking !== undefined) return `it is not capable of ${lacking}`
    if (domain.vcpus > cpus) return `it has ${cpus} CPUs, ${domain.vcpus} are wanted`
    if (this.free(name) < domain.memory) return `it has ${this.free(name)} MiB free, ${domain.memory} are wanted`
    const rival = domain.apart === undefined ? undefined : this.on(name).find((other) => other !== domain.name && this.domains.get(other)?.apart === domain.apart)
    if (rival !== undefined) return `${rival} of group ${domain.apart!} is there`
    const friend = domain.with.find((other) => (this.hostOf(other) ?? name) !== name)
    return friend === undefined ? undefined : `${friend}, which it is to be with, is on ${this.hostOf(friend)!}`
  }

  /** The best host for a domain: where most stays free; or what keeps it from each. */
  choose(domain: FleetDomain, except?: string): { readonly host: string } | { readonly obstacles: readonly Obstacle[] } {
    let best: string | undefined
    const obstacles: Obstacle[] = []
    for (const host of this.hosts.values()) {
      if (host.name === except) continue
      const why = this.obstacle(domain, host)
      if (why !== undefined) obstacles.push({ host: host.name, why })
      else if (best === undefined || this.free(host.name) > this.free(best)) best = host.name
    }
    return best === undefined ? { obstacles } : { host: best }
  }
}

/** Who is placed first: by priority, then by order, then the larger one, then by name. */
export const byPriority = (a: FleetDomain, b: FleetDomain): number =>
  b.priority - a.priority || a.order - b.order || b.memory - a.memory || (a.name < b.name ? -1 : 1)
