/**
 * The live half of an agent: a domain goes to another host with its memory and its disks. It is protected by the other host, as by a standby, until
 * that has a complete epoch; then it is held here, which the owner's record says, the pipe is cut, and the store is the arbiter: whoever puts its name into the
 * record has the domain. The other host never does before the record says that it is held: not even while what a protected domain says is held back does it run twice.
 */
import type { Arbiter } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { rest, type FleetClock } from '../clock.ts'
import { readRecord, writeRecord, type FleetDomain, type Ownership } from '../plan/fleet-state.ts'
import { KEY, madeAt } from '../records.ts'
import type { ClusterStore, StoreComparison, StoreEntry } from '../store/cluster-store.ts'
import type { FencedMachine, LiveMachine } from './fenced-machine.ts'
import { hearName, sayName, type MovePipe } from './move-network.ts'

/** What a mover works with. */
export interface MoverParts {
  readonly store: ClusterStore
  readonly clock: FleetClock
  readonly machine: FencedMachine
  readonly live: LiveMachine
  readonly host: string
  /** The present membership, and how many milliseconds its lease lasts; undefined while there is none. */
  member(): { readonly member: number; readonly grace: number } | undefined
  /** A domain as it is wanted. */
  domain(name: string): FleetDomain | undefined
  /** A domain is this host's as of a revision. */
  adopted(name: string, at: { readonly revision: number; readonly epoch: number }): void
}

/** Milliseconds for which the other host may take to claim what it has, and between two looks at that. */
const PATIENCE = 5000
const LOOK = 25
/** Domains that are sent at a time: of each there is a copy under way, and a guest that has to be let run between its pages. */
const AT_A_TIME = 4

/** Sends domains, and takes them in. */
export class Mover {
  private readonly parts: MoverParts
  private readonly sending = new Set<AbortController>()
  private underWay = 0
  private readonly waiting: (() => void)[] = []

  constructor(parts: MoverParts) {
    this.parts = parts
  }

  /** Takes in what others send, until the returned function is called. */
  listen(failed: (error: unknown) => void): () => void {
    return this.parts.live.network.listen((pipe) => {
      this.take(pipe).catch((error: unknown) => {
        pipe.cut()
        failed(error)
      })
    })
  }

  /**
   * Sends a domain to the host that its owner's record says. True when it is there; false when it goes on here and the record says so. Rejects where it was not sent
   * with its memory, and nobody knows more of it.
   */
  async send(name: string, there: { readonly to: string; readonly address: string }): Promise<boolean> {
    if (this.underWay < AT_A_TIME) this.underWay += 1
    else await new Promise<void>((resolve) => this.waiting.push(resolve))
    try {
      if (!this.parts.machine.isOpen) throw new XenError('STALE_EPOCH', `host ${this.parts.host} may have lost its lease`, { details: { domain: name } })
      return await this.sendNow(name, there)
    } finally {
      const next = this.waiting.shift()
      if (next === undefined) this.underWay -= 1
      else next()
    }
  }

  private async sendNow(name: string, { to, address }: { readonly to: string; readonly address: string }): Promise<boolean> {
    const { live, machine } = this.parts
    const pipe = await live.network.connect(address)
    const abort = new AbortController()
    this.sending.add(abort)
    abort.signal.addEventListener('abort', () => pipe.cut())
    let isKept = false
    try {
      await sayName(name, pipe)
      const protection = live.protect(name, pipe.transport, { arbiter: this.giver(name, to, () => { isKept = true }), signal: abort.signal })
      await new Promise((resolve, reject) => {
        protection.onProtected(() => resolve(undefined))
        protection.ended.then(resolve, reject)
      })
      machine.hold(name)
      // From here on at most the other host runs it. One that was not told so does not take it, and the domain goes on here.
      await this.hand(name, to).catch(() => undefined)
      pipe.cut()
      const isGone = await protection.ended
      if (!isGone && !isKept) throw new XenError('IO', `host ${to} did not take domain ${name}`, { details: { domain: name, host: to } })
      if (!isGone) machine.release(name)
      return isGone
    } finally {
      this.sending.delete(abort)
      pipe.cut()
    }
  }

  /** Has the record say that the domain stands still here. */
  private async hand(name: string, to: string): Promise<void> {
    const { store, host } = this.parts
    const entry = await store.get(KEY.owner(name))
    const owner = entry && readRecord('owner', entry.value)
    if (entry === undefined || owner?.host !== host || owner.to !== to || owner.member !== this.parts.member()?.member) return
    await store.txn([{ key: entry.key, target: 'modified', result: 'equal', value: entry.modified }], [{ type: 'put', key: entry.key, value: writeRecord('owner', { ...owner, isHanded: true }) }])
  }

  /** Ends what is being sent: nothing may go on here that waits for a domain which is paused. */
  giveUp(): void {
    for (const abort of this.sending) abort.abort()
  }

  /** Who says whether the domain goes on here: not as long as the other host may have it. */
  private giver(name: string, to: string, kept: () => void): Arbiter {
    const { store, clock, host } = this.parts
    let end: number | undefined
    return {
      claim: async () => {
        end ??= clock.now() + PATIENCE
        for (;;) {
          const entry = await store.get(KEY.owner(name)).catch(() => 'unknown' as const)
          if (entry !== 'unknown') {
            const owner = entry && readRecord('owner', entry.value)
            if (entry === undefined || owner?.host !== host || owner.member !== this.parts.member()?.member) return false
            if ((owner.to !== to || clock.now() >= end) && await this.keep(entry, owner, to)) {
              kept()
              return true
            }
          }
          await rest(clock, LOOK)
        }
      },
    }
  }

  /** Has the record say that the domain does not go there. Where it is to go elsewhere by now, it still is. */
  private async keep({ key, modified }: StoreEntry, { to: wanted, isHanded: _, ...owner }: Ownership, to: string): Promise<boolean> {
    const same: StoreComparison = { key, target: 'modified', result: 'equal', value: modified }
    const left: Ownership = wanted === undefined || wanted === to ? owner : { ...owner, to: wanted }
    return this.parts.store.txn([same], [{ type: 'put', key, value: writeRecord('owner', left) }]).then(({ succeeded }) => succeeded, () => false)
  }

  private async take(given: MovePipe): Promise<void> {
    const { live, machine, store, host, domain: find } = this.parts
    const { name, pipe } = await hearName(given)
    const domain = find(name)
    const entry = await store.get(KEY.owner(name))
    // Nobody else's bytes reach this host's disks.
    if (domain === undefined || entry === undefined || readRecord('owner', entry.value)?.to !== host) throw new XenError('PERMISSION_DENIED', `domain ${name} is not to come here`, { details: { domain: name } })
    const arbiter: Arbiter = {
      claim: async () => {
        const epoch = await this.claim(name)
        if (epoch === undefined) return false
        // From here on it is known to the fence, which has a say in whether it starts.
        const taking = machine.adopt(name, epoch, (mayRun) => standing.run(mayRun))
        taking.catch(() => standing.drop())
        return true
      },
    }
    const standing = live.standBy(domain, pipe.transport, arbiter)
    await standing.ended
  }

  /** Puts this host into the owner's record; the epoch, or undefined where the domain is not to come here. */
  private async claim(name: string): Promise<number | undefined> {
    const { store, host } = this.parts
    const key = KEY.owner(name)
    const [entry, membership] = [await store.get(key), this.parts.member()]
    const owner = entry && readRecord('owner', entry.value)
    if (entry === undefined || owner?.to !== host || owner.isHanded !== true || membership === undefined || !this.parts.machine.isOpen) return undefined
    const { member, grace } = membership
    const epoch = Math.max(owner.epoch, entry.modified) + 1
    const { succeeded, revision } = await store.txn(
      [{ key, target: 'modified', result: 'equal', value: entry.modified }, madeAt(KEY.host(host), member)],
      [{ type: 'put', key, value: writeRecord('owner', { host, epoch, member, grace }) }],
    )
    if (succeeded) this.parts.adopted(name, { revision, epoch })
    return succeeded ? epoch : undefined
  }
}
