/**
 * How a case of the machine fuzzers goes, whatever kind the attackers are of: one lives after the other, each for some slices of
 * two vCPUs' turns, during which others inherit, and its log of writes may begin.
 */
import { below, type DomId, type Mfn } from '../../src/util/index.ts'
import type { World } from './machine-world.ts'

/** Whether a slice's programs may change page tables: where none does, every translation must be exactly what they say. */
export type SliceKind = 'hostile' | 'quiet'

/** An attacker. */
export interface Attacker {
  readonly domid: DomId
}

const LIFETIMES = 4
const SLICES = 6
/** One of so many slices is quiet. */
const QUIET_EVERY = 4
/** Pieces of a program. */
export const PIECES = 14
/** Limits of a turn: the two vCPUs meet at any place. */
const TURNS = [200, 2000, 8000] as const

/** A whole case. Throws where a promise is broken. */
export function live<G extends Attacker>(world: World, make: () => G, slice: (guest: G, kind: SliceKind) => void): void {
  const { hypervisor } = world.host
  for (let life = 0; life < LIFETIMES; life += 1) {
    const guest = make()
    hypervisor.unpauseDomain(guest.domid)
    world.report.domains += 1
    world.check()
    for (let i = 0; i < SLICES; i += 1) slice(guest, below(world.random, QUIET_EVERY) === 0 ? 'quiet' : 'hostile')
    hypervisor.destroyDomain(guest.domid)
    world.check()
  }
  world.finish()
}

/** The turns of a slice, of so many instructions together; `behind` is called behind each. */
export function takeTurns(
  world: World, { domid }: Attacker, { kind, instructions, behind }: { readonly kind: SliceKind; readonly instructions: number; readonly behind?: () => void },
): void {
  let changesHands = kind === 'hostile'
  for (let left = instructions; left > 0;) {
    const turn = 1 + below(world.random, world.pick(TURNS))
    world.host.hypervisor.run({ instructions: turn * world.scale })
    left -= turn
    behind?.()
    if (!changesHands || left > instructions / 2) continue
    changesHands = false
    world.inherit()
    if (world.chance(3)) world.logWrites(domid)
  }
}

/** A guest that has crashed goes on. */
export function revive({ report, host: { hypervisor } }: World, { domid }: Attacker): void {
  const { shutdown, crashed } = hypervisor.domainInfo(domid)
  if (!shutdown && !crashed) return
  report.crashes += 1
  hypervisor.resumeDomain(domid)
}

/** Frames that a guest has lost are replaced by those it has got. */
export function replaceLost({ host: { hypervisor } }: World, { domid, frames }: Attacker & { readonly frames: Mfn[] }): void {
  const owned = new Set(hypervisor.domainFrames(domid))
  const fresh = [...owned].filter((mfn) => !frames.includes(mfn))
  frames.forEach((mfn, i) => {
    const next = owned.has(mfn) ? undefined : fresh.pop()
    if (next !== undefined) frames[i] = next
  })
}
