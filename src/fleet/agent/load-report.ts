/**
 * What a host is at, in the fleet's store: a record of its own beside the host's, which goes with the same lease. It is written when it
 * has changed enough to matter to somebody, so that a fleet at rest writes nothing.
 */
import { writeRecord, type HostLoad } from '../plan/fleet-state.ts'
import { KEY, madeAt } from '../records.ts'
import type { ClusterStore } from '../store/cluster-store.ts'

/** Changes below which nothing is written: a share of the CPUs, and MiB. */
const LEAST = { cpu: 0.05, memory: 1 } as const

/** A membership by which a load is published: it is gone with it. */
interface LoadMembership {
  readonly member: number
  readonly lease: { readonly id: string }
}

/** Publishes one host's load. */
export class LoadReport {
  private readonly store: Pick<ClusterStore, 'txn'>
  private readonly host: string
  private readonly load: () => HostLoad
  private last: { readonly member: number; readonly load: HostLoad } | undefined
  private isWriting = false

  constructor({ store, host, load }: { readonly store: Pick<ClusterStore, 'txn'>; readonly host: string; readonly load: () => HostLoad }) {
    this.store = store
    this.host = host
    this.load = load
  }

  /** Writes what the host is at, where that has changed and the last writing is over. Rejects where the store cannot be asked. */
  async publish({ member, lease }: LoadMembership): Promise<void> {
    const load = this.load()
    if (this.isWriting || (this.last?.member === member && !isNews(this.last.load, load))) return
    this.isWriting = true
    try {
      const put = { type: 'put', key: KEY.load(this.host), value: writeRecord('load', load), lease: lease.id } as const
      const { succeeded } = await this.store.txn([madeAt(KEY.host(this.host), member)], [put])
      if (succeeded) this.last = { member, load }
    } finally {
      this.isWriting = false
    }
  }
}

const isNews = (before: HostLoad, now: HostLoad): boolean =>
  Math.abs(now.cpu - before.cpu) >= LEAST.cpu || Math.abs(now.memory - before.memory) >= LEAST.memory
