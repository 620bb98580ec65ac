/**
 * Makes room for a domain that is to be created: asks the host's memory policy who is to give memory up, asks those, and
 * waits. A guest that lags is waited for as long as it gives something; one that gives nothing has refused, and the policy
 * is asked once more. When there is no way, targets are what they were.
 * Reference: tools/xl/xl_vmcontrol.c, freemem; tools/libs/light/libxl_mem.c, libxl_wait_for_free_memory.
 */
import { XenError } from '../../util/index.ts'
import type { MemoryChange, MemoryDomain, MemoryPolicy, MemoryView } from './memory-policy.ts'

/** What it needs of its host, in MiB. */
export interface RoomHost {
  /** How memory lies now. */
  view(): Omit<MemoryView, 'needed' | 'domains'> & { readonly domains: readonly Omit<MemoryDomain, 'refused'>[] }
  /** Says what a domain is to have; `from` is what it was to have before. */
  setTarget(domid: number, mebibytes: number): void
  /** Waits until a condition holds; false when it has not for a while of host time. */
  wait(met: () => boolean): Promise<boolean>
}

/** More rounds of asking do not help. */
const ROUNDS = 16

function checked(changes: readonly MemoryChange[], { domains }: MemoryView): readonly MemoryChange[] {
  const isSound = Array.isArray(changes) && changes.every(({ domid, mebibytes }: MemoryChange) =>
    domains.some((domain) => domain.domid === domid) && Number.isInteger(mebibytes) && mebibytes >= 1)
  if (isSound) return changes
  throw new XenError('INVALID_ARGUMENT', 'a memory policy answers with domains that there are, and whole MiB for each', { details: { changes } })
}

/** One attempt to make room. */
class RoomMaker {
  /** Targets that were there before. */
  readonly before = new Map<number, { readonly target: number; asked: number }>()
  private readonly host: RoomHost
  private readonly policy: MemoryPolicy
  private readonly needed: number
  private readonly refused = new Set<number>()

  constructor(host: RoomHost, policy: MemoryPolicy, needed: number) {
    this.host = host
    this.policy = policy
    this.needed = needed
  }

  /** True when there is room. */
  get isThere(): boolean {
    return this.host.view().free >= this.needed
  }

  /** Asks who is to give memory up, and lets them; false when there is no way. */
  async round(): Promise<boolean> {
    const view = this.view()
    const changes = this.policy(view)
    if (changes === undefined || changes.length === 0) return false
    for (const change of checked(changes, view)) this.ask(change, view)
    const had = new Map(view.domains.map(({ domid, memory }) => [domid, memory]))
    if (await this.host.wait(() => this.isThere)) return true
    for (const { domid, memory } of this.host.view().domains) {
      // Who has given something is slow, not unwilling.
      if (changes.some((change) => change.domid === domid) && memory >= had.get(domid)!) this.refused.add(domid)
    }
    return true
  }

  /** Targets are what they were, but for those that somebody else has set since. */
  takeBack(): void {
    const present = this.host.view().domains
    for (const [domid, { target, asked }] of this.before) {
      if (present.some((domain) => domain.domid === domid && domain.target === asked)) this.host.setTarget(domid, target)
    }
  }

  private view(): MemoryView {
    const view = this.host.view()
    return { ...view, needed: this.needed, domains: view.domains.map((domain) => ({ ...domain, refused: this.refused.has(domain.domid) })) }
  }

  private ask({ domid, mebibytes }: MemoryChange, { domains }: MemoryView): void {
    const { target } = domains.find((domain) => domain.domid === domid)!
    const known = this.before.get(domid)
    if (known === undefined) this.before.set(domid, { target, asked: mebibytes })
    else known.asked = mebibytes
    this.host.setTarget(domid, mebibytes)
  }
}

/**
 * Makes so many MiB free, if they are not; false when there is no way, and then targets are what they were. `undo` remembers how to
 * take it back when what needs the room fails.
 */
export async function makeRoom(
  host: RoomHost, needed: number, { policy, undo }: { readonly policy: MemoryPolicy; readonly undo: (step: () => void) => void },
): Promise<boolean> {
  const maker = new RoomMaker(host, policy, needed)
  if (maker.isThere) return true
  undo(() => maker.takeBack())
  for (let round = 0; round < ROUNDS; round += 1) {
    if (!await maker.round()) break
    if (maker.isThere) return true
  }
  maker.takeBack()
  maker.before.clear()
  return false
}
