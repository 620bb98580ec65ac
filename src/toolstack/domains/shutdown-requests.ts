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
  /** Domains that have been asked to reboot, and may have taken it. */
  private readonly reboots = new Set<DomId>()

  constructor(store: LocalStore) {
    this.store = store
  }

  /** Asks a guest. */
  place(domid: DomId, what: ShutdownRequestName): ShutdownRequest {
    const node = `${domainPath(domid)}/control/shutdown`
    const request: Standing = { what }
    if (what === 'reboot') this.reboots.add(domid)
    const before = this.standing.get(domid) ?? []
    this.standing.set(domid, [...before, request])
    this.store.write(node, what)
    const isTaken = (): boolean => {
      if (this.store.tryRead(node) !== '') return false
      // Whatever stood before was taken with it, or overwritten: the guest has been told one thing.
      this.standing.delete(domid)
      return true
    }
    return { taken: isTaken, withdraw: () => this.withdraw(domid, request, node) }
  }

  /** What stands for a domain, and whether it was asked to reboot. */
  save(domid: DomId): { readonly standing: readonly ShutdownRequestName[]; readonly reboot: boolean } {
    return { standing: (this.standing.get(domid) ?? []).map(({ what }) => what), reboot: this.reboots.has(domid) }
  }

  load(domid: DomId, { standing, reboot }: ReturnType<ShutdownRequests['save']>): void {
    if (standing.length > 0) this.standing.set(domid, standing.map((what) => ({ what })))
    if (reboot) this.reboots.add(domid)
  }

  /** Whether somebody has asked the domain to reboot. */
  wasAskedToReboot(domid: DomId): boolean {
    return this.reboots.has(domid)
  }

  /** The domain is gone. */
  forget(domid: DomId): void {
    this.reboots.delete(domid)
    this.standing.delete(domid)
  }

  private withdraw(domid: DomId, request: Standing, node: string): boolean {
    const all = this.standing.get(domid) ?? []
    const others = all.filter((other) => other !== request)
    if (others.length > 0) this.standing.set(domid, others)
    else this.standing.delete(domid)
    if (this.store.tryRead(node) !== request.what) return false
    if (!others.some(({ what }) => what === 'reboot')) this.reboots.delete(domid)
    if (others.length < all.length) this.store.write(node, others.at(-1)?.what ?? '')
    return true
  }
}
