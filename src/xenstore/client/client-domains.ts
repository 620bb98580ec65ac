/**
 * What a toolstack tells the server of domains, and asks about them, as promises. Privileged but for the questions
 * about oneself; a refused one rejects with a XenError of code XENSTORE.
 *
 * Reference: xen/docs/misc/xenstore.txt, INTRODUCE to SET_QUOTA; the names are those of libxenstore's xs_*.
 */
import type { Requester } from './client-operations.ts'
import { replyStrings, type StoreRequest } from '../protocol/messages.ts'

/** The operations about domains. */
export class ClientDomains {
  private readonly requester: Requester

  /** A client makes it. */
  constructor(requester: Requester) {
    this.requester = requester
  }

  private async ask(request: StoreRequest): Promise<readonly string[]> {
    return replyStrings(await this.requester.request(request, 0))
  }

  private async number(request: StoreRequest): Promise<number> {
    return Number((await this.ask(request))[0])
  }

  /** Has the server connect a domain by its page, at a machine frame, and by the event channel port it offers. */
  async introduce(domid: number, frame: number, port: number): Promise<void> {
    await this.ask({ op: 'introduce', domid, frame, port })
  }

  /** Has the server forget a domain: its connection, its nodes, and its name in permissions. */
  async release(domid: number): Promise<void> {
    await this.ask({ op: 'release', domid })
  }

  /** Tells the server that a domain which had suspended goes on, so that its next shutdown is news. */
  async resume(domid: number): Promise<void> {
    await this.ask({ op: 'resume', domid })
  }

  /** True when the domain is known to the server. */
  async isIntroduced(domid: number): Promise<boolean> {
    return (await this.ask({ op: 'is-domain-introduced', domid }))[0] === 'T'
  }

  /** The home of a domain: `/local/domain/5`. */
  async path(domid: number): Promise<string> {
    return (await this.ask({ op: 'get-domain-path', domid }))[0] ?? ''
  }

  /** Gives a domain power over the nodes of another one, as the domain of a device model needs. */
  async setTarget(domid: number, target: number): Promise<void> {
    await this.ask({ op: 'set-target', domid, target })
  }

  /** The features on offer to a domain, or to oneself, as bits. */
  features(domid?: number): Promise<number> {
    return this.number({ op: 'get-feature', domid })
  }

  /** Narrows the features on offer to a domain, before it is introduced. */
  async setFeatures(domid: number, features: number): Promise<void> {
    await this.ask({ op: 'set-feature', domid, features })
  }

  /** The names of the limits that the server knows. */
  async quotaNames(): Promise<readonly string[]> {
    return ((await this.ask({ op: 'get-quota', domid: undefined, quota: undefined }))[0] ?? '').split(' ')
  }

  /** A limit of a domain, or that of domains to come. */
  quota(quota: string, domid?: number): Promise<number> {
    return this.number({ op: 'get-quota', domid, quota })
  }

  /** Changes a limit of a domain, or that of domains to come. */
  async setQuota(quota: string, value: number, domid?: number): Promise<void> {
    await this.ask({ op: 'set-quota', domid, quota, value })
  }
}
