/**
 * What guests are asked by `control/shutdown`: there is one node for all who ask. The last request stands in it; one that
 * is withdrawn makes room for the one before, unless the guest has taken it.
 * Reference: docs/misc/xenstore-paths.pandoc, control/shutdown.
 */
import type { DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { domainPath } from './domain-nodes.ts'

/** Something that a guest can be asked. */
export type ShutdownRequestName = 'poweroff' | 'reboot' | 'suspend'

/** One request that stands. */
export interface ShutdownRequest {
  /** True when the guest has taken a request since: it does so by emptying the node. */
  taken(): boolean
  /** Takes it back; false when it did not stand any more: the guest has seen it. */
  withdraw(): boolean
}

interface Standing {
  readonly what: ShutdownRequestName
}

/** The requests to the guests of one host. */
export class ShutdownRequests {
  private readonly store: LocalStore
  private readonly standing = new Map<DomId, Standing[]>()
  /** Domains that have been asked to reboot. */
  private readonly reboots = new Set<DomId>()

  constructor(store: LocalStore) {
    this.store = store
  }

  /** Asks a guest. */
  place(domain: DomId, what: ShutdownRequestName): ShutdownRequest {
    const node = `${domainPath(domain)}/control/shutdown`
    const request: Standing = { what }
    if (what === 'reboot') this.reboots.add(domain)
    const before = this.standing.get(domain) ?? []
    this.standing.set(domain, [...before, request])
    this.store.write(node, what)
    const isTaken = (): boolean => {
      if (this.store.tryRead(node) !== '') return false
      // Whatever stood before was taken with it, or overwritten: the guest has been told one thing.
      this.standing.delete(domain)
      return true
    }
    return { taken: isTaken, withdraw: () => this.withdraw(domain, request, node) }
  }

  /** What stands for a domain, and whether it was asked to reboot. */
  save(domain: DomId): { readonly standing: readonly ShutdownRequestName[]; readonly reboot: boolean } {
    return { standing: (this.standing.get(domain) ?? []).map(({ what }) => what), reboot: this.reboots.has(domain) }
  }

  load(domain: DomId, { standing, reboot }: ReturnType<ShutdownRequests['save']>): void {
    if (standing.length > 0) this.standing.set(domain, standing.map((what) => ({ what })))
    if (reboot) this.reboots.add(domain)
  }

  /** Whether somebody has asked the domain to reboot. */
  wasAskedToReboot(domain: DomId): boolean {
    return this.reboots.has(domain)
  }

  /** The domain is gone. */
  forget(domain: DomId): void {
    this.reboots.delete(domain)
    this.standing.delete(domain)
  }

  private withdraw(domain: DomId, request: Standing, node: string): boolean {
    const all = this.standing.get(domain) ?? []
    const others = all.filter((other) => other !== request)
    if (others.length > 0) this.standing.set(domain, others)
    else this.standing.delete(domain)
    if (this.store.tryRead(node) !== request.what) return false
    if (others.length < all.length) this.store.write(node, others.at(-1)?.what ?? '')
    return true
  }
}
