/**
 * Moments of one host: it is checkpointed while nothing is under way in it, and brought back to one in place. What its
 * users held of the host before - domains, consoles, the store, ports of bridges - is closed then: it rejects with CLOSED,
 * and the host gives new ones.
 */
import type { GuestProgram } from '../../guest/index.ts'
import { checkOptions, text, XenError } from '../../util/index.ts'
import { frameOn, type HostFrame, type HostParts } from '../boot/boot-host.ts'
import { hashesOf, type Family, type Kept } from '../moments/family.ts'
import { GroundImages } from '../moments/ground-images.ts'
import type { BranchOptions, Moment } from '../moments/moment.ts'
import { reseeded } from '../moments/reseed.ts'
import { turn } from '../run/run-loop.ts'
import type { Guests } from './guests.ts'
import { hostTree, lowerPartsOnImage, upperParts, whileQuiet, type HostInsides } from './host-state.ts'
import { openedBefore } from './reopen.ts'
import { retire } from './retire.ts'
import { standUp } from './stand-up.ts'

/** How a moment is taken. */
export interface CheckpointOptions {
  /** What it is called. A moment with a label makes room for no other. */
  readonly label?: string | undefined
}

/** The host as its moments see it. */
export interface MomentSeat {
  insides(): HostInsides
  /** Goes on as what was stood up. */
  install(parts: HostParts): Guests
}

/** Turns of JavaScript that stores are given to answer what they were asked, before a host is brought back. */
const TURNS = 1000

/** Moments of one host; `H` is what its users hold. */
export class HostMoments<H> {
  private readonly seat: MomentSeat
  private readonly family: Family<H>
  private images: GroundImages | undefined
  private current: Moment<H> | undefined
  /** What the host was booted with, whatever it was brought back with. */
  private options: Kept['options'] | undefined
  private isMoving = false

  /** `branched`: the ground of a host that is a branch, and where it comes from. */
  constructor(seat: MomentSeat, family: Family<H>, branched?: { readonly images: GroundImages; readonly moment: Moment<H> }) {
    this.seat = seat
    this.family = family
    this.images = branched?.images
    this.current = branched?.moment
  }

  /** Takes a moment at the next at which nothing is under way. Rejects with BUSY, NOT_SUPPORTED, OUT_OF_MEMORY. */
  async checkpoint(options: CheckpointOptions): Promise<Moment<H>> {
    checkOptions('checkpoint', options, { label: text })
    const { label } = options
    const insides = this.seat.insides()
    return this.alone('a checkpoint', () => whileQuiet(insides, () => {
      const { parts } = insides
      this.images ??= new GroundImages(parts.machine, this.family.pool, parts.control.frameRows)
      insides.guests.devices.holdOutside()
      const tree = treeOn(insides)
      const ground = this.family.capture(this.images, silentFrames(parts))
      const kept: Kept = { ground, tree, programs: programsOf(insides), options: this.options ?? parts.options, trusted: true }
      this.current = this.family.keep({ label, time: parts.clock.now(), parent: this.current, newPages: ground.newPages }, kept)
      return this.current
    }))
  }

  /** A hash of each part at the next moment at which nothing is under way; of memory only what was written since the last is looked at. */
  async hashes(): Promise<Readonly<Record<string, string>>> {
    const insides = this.seat.insides()
    return whileQuiet(insides, () => {
      const { parts } = insides
      this.images ??= new GroundImages(parts.machine, this.family.pool, parts.control.frameRows)
      // There is room for anything.
      const ground = this.images.capture({ silent: silentFrames(parts), room: Infinity })!
      const hashes = hashesOf(ground, treeOn(insides))
      ground.release()
      return hashes
    })
  }

  /** Brings the host back. Rejects with BUSY, CLOSED, INVALID_ARGUMENT; then it goes on as it was. */
  async reset(moment: Moment<H>): Promise<void> {
    const kept = this.family.find(moment)
    return this.alone('a reset', async () => {
      const insides = this.seat.insides()
      const { images } = this
      if (images === undefined) throw new XenError('INVALID_ARGUMENT', 'the host has no moment yet')
      const goBack = await stand(insides)
      const options = await openedBefore(kept.tree, kept.options).catch((error: unknown) => {
        goBack()
        throw error
      })
      this.options = kept.options
      retire(insides, new XenError('CLOSED', 'the host was brought back to a moment: ask it anew'))
      images.restore(kept.ground, silentFrames(insides.parts))
      const goOn = await standUpOn({ ...kept, options }, { images }, (parts) => this.seat.install(parts))
      await insides.guests.devices.releaseOutside(this.seat.insides().guests.devices.outside())
      this.current = moment
      goOn()
    })
  }

  /** The host is gone: its machine may be a branch's. */
  end(): void {
    if (this.images === undefined) return
    if (this.family.list().length === 0) return this.images.end()
    retire(this.seat.insides(), new XenError('CLOSED', 'the host is shut down'))
    this.family.recycle(this.images)
    this.images = undefined
  }

  private async alone<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.isMoving) throw new XenError('BUSY', `${what}: a moment of this host is being taken, or it is being brought back to one`)
    this.isMoving = true
    try {
      return await work()
    } finally {
      this.isMoving = false
    }
  }
}

/** Stands a host up that a moment is made of, on a ground that has been brought there. Rejects with INVALID_STATE for what came from a file and is no host. */
export async function standUpOn(
  kept: Kept, { images, seed }: { readonly images: GroundImages } & BranchOptions, install: (parts: HostParts) => Guests,
): Promise<() => void> {
  const { trusted } = kept
  const frame: HostFrame = frameOn({ machine: images.machine, before: images.rows }, kept.options)
  for (const [domid, program] of kept.programs) frame.programs.give(domid, program)
  const lower = lowerPartsOnImage(frame, { trusted })
  if (!trusted) hostTree(lower, upperParts(frame, () => { throw new Error('the guests are not there yet') })).check(kept.tree)
  const state = seed === undefined ? kept.tree : reseeded(kept.tree, seed)
  const goOn = await standUp({ state, frame, lower }, install)
  kept.trusted = true
  return goOn
}

/** Lets nothing run, and stores answer what they were asked; gives what lets it run on. Throws BUSY, and the host goes on. */
async function stand({ parts, guests }: HostInsides): Promise<() => void> {
  const busy = (what: string): XenError => new XenError('BUSY', `the host cannot be brought back now: ${what}`, { details: { what } })
  const operation = guests.underWay()
  if (operation !== undefined) throw busy(operation)
  const goOn = await parts.loop.halt()
  for (let turns = 0; guests.devices.awaited() !== undefined; turns += 1) {
    if (turns >= TURNS) {
      goOn()
      throw busy(guests.devices.awaited() ?? 'a disk')
    }
    await turn()
  }
  return goOn
}

const treeOn = ({ parts, guests }: HostInsides): Kept['tree'] =>
  // A tree saves a tree.
  hostTree(lowerPartsOnImage(parts, { trusted: true }), upperParts(parts, () => guests)).save() as Kept['tree']

function silentFrames({ control, plan, programs }: HostParts): Uint32Array {
  const all = new Set<number>([...control.silentFrames(), ...plan.silentFrames(), ...programs.silentFrames()])
  return Uint32Array.from(all).sort()
}

function programsOf({ parts, guests }: HostInsides): ReadonlyMap<number, GuestProgram> {
  const programs = new Map<number, GuestProgram>()
  for (const { id, config: { kernel } } of guests.list()) {
    const program = parts.programs.programOf(id) ?? (typeof kernel === 'function' ? kernel : undefined)
    if (program !== undefined) programs.set(id, program)
  }
  return programs
}
