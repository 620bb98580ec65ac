/**
 * Finding what happened in a recorded run: a replica goes from keyframe to keyframe at full speed and stops where something that is looked for happens.
 * The newest stretch is looked at first where the last one of its kind is wanted, and stretches in which it cannot have happened not at all.
 */
import type { TraceHooks, TracedInstruction } from '../../machine/index.ts'
import type { Host } from '../../toolstack/index.ts'
import type { Keyframe, Keyframes } from './keyframes.ts'
import { followVcpus } from './lookout.ts'
import type { Replica } from './replica.ts'

/** Something that was found, at the instruction before which a host stands that is to do it. */
export interface Sighting<E> {
  readonly instruction: number
  readonly event: E
}

/** What is looked for: hooks call `see`, with how many instructions back it began, and answer 'stop'. */
export interface Sought<E> {
  hooks(place: { readonly domid: number; readonly vcpu: number; readonly host: Host }, see: (event: E, cost: number) => void): TraceHooks | undefined
  /** What a host that stands there tells of it besides. */
  complete?(event: E, host: Host): E
  /** False where it cannot have happened between a keyframe and the one behind it. */
  mayBeBefore?(next: Keyframe): boolean
}

/** Where it is looked for. */
export interface Stretch {
  readonly from: number
  /** What begins here or behind is not meant. */
  readonly to: number
}

/** Goes over one stretch from a keyframe on; `take` answers whether that is enough. */
async function scan<E>(replica: Replica, sought: Sought<E>, { keyframe, stretch: { from, to }, take }: {
  readonly keyframe: Keyframe; readonly stretch: Stretch; readonly take: (found: Sighting<E>) => boolean
}): Promise<boolean> {
  await replica.reset(keyframe)
  if (from > keyframe.instruction) await replica.playTo(from)
  const seen: { readonly event: E; readonly cost: number }[] = []
  const see = (event: E, cost: number): void => void seen.push({ event, cost })
  const forget = followVcpus(replica.host, (domid, vcpu, host) => sought.hooks({ domid, vcpu, host }, see))
  try {
    for (;;) {
      const { type } = await replica.playTo(to)
      for (const { event, cost } of seen.splice(0)) {
        const instruction = replica.instruction - cost
        const found = { instruction, event: sought.complete?.(event, replica.host) ?? event }
        if (instruction < to && instruction >= from && take(found)) return true
      }
      if (type !== 'stopped' || replica.instruction >= to) return false
    }
  } finally {
    forget()
  }
}

/** Each stretch between two keyframes, as far as it lies within another. */
function piecesOf(keyframes: readonly Keyframe[], { from, to }: Stretch): { readonly keyframe: Keyframe; readonly next: Keyframe | undefined; readonly stretch: Stretch }[] {
  return keyframes.flatMap((keyframe, i) => {
    const next = keyframes[i + 1]
    const end = Math.min(to, next?.instruction ?? to)
    return keyframe.instruction < to && (next === undefined || next.instruction > from)
      ? [{ keyframe, next, stretch: { from: Math.max(from, keyframe.instruction), to: end } }] : []
  })
}

/** The last of its kind within a stretch; undefined where there is none. */
export async function findLast<E>(replica: Replica, keyframes: Keyframes, { sought, stretch }: { readonly sought: Sought<E>; readonly stretch: Stretch }): Promise<Sighting<E> | undefined> {
  for (const piece of piecesOf(keyframes.all(), stretch).reverse()) {
    // What a keyframe tells reaches to the next one.
    if (piece.next !== undefined && piece.next.instruction <= stretch.to && sought.mayBeBefore?.(piece.next) === false) continue
    let last: Sighting<E> | undefined
    await scan(replica, sought, { ...piece, take: (found) => { last = found; return false } })
    if (last !== undefined) return last
  }
  return undefined
}

/** All of its kind within a stretch, in their order, `most` of them at most. */
export async function findAll<E>(replica: Replica, keyframes: Keyframes, { sought, stretch, most }: {
  readonly sought: Sought<E>; readonly stretch: Stretch; readonly most: number
}): Promise<Sighting<E>[]> {
  const found: Sighting<E>[] = []
  const take = (one: Sighting<E>): boolean => found.push(one) >= most
  for (const piece of piecesOf(keyframes.all(), stretch)) if (await scan(replica, sought, { ...piece, take })) break
  return found
}

/** Units by which a way back is looked at for the last instruction: more and more. */
const FIRST_WINDOW = 256
const GROWTH = 64

/** What decoding a line of code that was never executed counts for, before the instruction that is fetched from it, at least. */
const DECODING = 100

/** Whose last instruction is looked for. */
export interface SoughtInstruction {
  readonly before: number
  readonly from: number
  /** Address of the one that comes there. */
  readonly next: number | undefined
  isOwn(place: { readonly domid: number; readonly vcpu: number; readonly host: Host }): boolean
  accepts(event: TracedInstruction, place: { readonly vcpu: number; readonly host: Host }): boolean
}

/** The last instruction that was done before a place, back to `from`, on vCPUs of one's own. */
export async function lastInstruction(replica: Replica, keyframes: Keyframes, { before, from, next, isOwn, accepts }: SoughtInstruction): Promise<number | undefined> {
  const sought: Sought<number> = {
    hooks: (place, see) => (isOwn(place) ? { instruction: (event) => { if (!accepts(event, place)) return undefined; see(event.address, 0); return 'stop' } } : undefined),
  }
  for (let window = FIRST_WINDOW; ; window *= GROWTH) {
    const begin = Math.max(from, before - window)
    const keyframe = keyframes.before(begin)
    if (keyframe === undefined) return undefined
    let last: number | undefined
    // The window may reach over a keyframe: it is played from the one before.
    await scan(replica, sought, {
      keyframe, stretch: { from: begin, to: before }, take: ({ instruction, event }) => {
        // Fetched, which is work of its own, and not done.
        if (event !== next || before - instruction < DECODING) last = instruction
        return false
      },
    })
    if (last !== undefined || begin <= from || window > 1e9) return last
  }
}
