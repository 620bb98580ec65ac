/**
 * The one form of state. A stateful part gives itself as plain data and takes itself back from it; a tree of named parts
 * does the same for all below it. Plain data is what a structured clone keeps and a file can hold: null, undefined,
 * booleans, numbers, bigints, texts, arrays of numbers, lists and records. What comes back is hostile until its shape and
 * its part have looked at it.
 *
 * What is no state: what can be made again without a guest seeing it (decoded code, translations), and what belongs to the
 * outside (listeners, open files). Who can have work in flight is {@link Quiescible}: it is saved only when it has none.
 * Reference for the plan: propolis, lib/propolis/src/lifecycle.rs; cloud-hypervisor, vm-migration/src/lib.rs.
 */
import { XenError } from './errors.ts'
import { sameState, shareState } from './same-state.ts'
import type { Shape, StateArray } from './state-shape.ts'

/** Plain data. */
export type StateValue =
  | null | undefined | boolean | number | bigint | string | StateArray
  | readonly StateValue[] | { readonly [name: string]: StateValue }

/** What every stateful part has. */
export interface Stateful<State> {
  /** All that the part is, as plain data of which it changes nothing any more. Changes nothing. */
  save(): State
  /**
   * Makes a freshly made part what the saved one was. The shape has been checked; whatever else does not fit is refused with
   * INVALID_STATE, before anything has changed.
   */
  load(state: State): void
  /**
   * Whether it is what it has saved before, looked at where it lies: true only where `save` would give the same, and nothing is made
   * for it. Absent: whoever asks saves, and compares. `Part.overlooked` finds who is wrong.
   */
  isAsSaved?(state: State): boolean
  /**
   * What brings a part that has gone on, in place, to a state that it has saved before; `now` is what it would save now, which
   * differs. Undefined where it must be made anew. Absent: always. Changes nothing.
   */
  rewind?(state: State, now: State): Rewind | undefined
}

/** Brings a part back in place. It is not refused any more. */
export type Rewind = () => void

/** A part that is loaded in place as it is loaded when it was freshly made: all that it is are fields that are set. */
export const inPlace = <State>(body: Stateful<State>): Stateful<State> => ({
  save: () => body.save(), load: (state) => body.load(state), rewind: (state) => () => body.load(state),
  ...(body.isAsSaved === undefined ? {} : { isAsSaved: (state: State) => body.isAsSaved!(state) }),
})

/**
 * What can have work in flight that no plain data holds: a disk's reads, a step of a handshake, code that waits. Nobody stops
 * it half-way: whoever saves keeps new work away, lets what is in flight end, and asks again.
 */
export interface Quiescible {
  /** What is in flight now, in words for whoever waits for it; undefined when nothing is. Changes nothing. */
  underWay(): string | undefined
}

/** What can hold something that is code, and never becomes plain data. */
export interface Savable {
  /** What of it can never be saved, however long it is waited for, in words; undefined when nothing is. Changes nothing. */
  unsavable(): string | undefined
}

/** One part's saved state. */
export interface SavedPart {
  readonly version: number
  readonly state: unknown
}

/** Saved state of named parts. */
export interface SavedTree {
  readonly version: number
  readonly parts: { readonly [name: string]: SavedPart | SavedTree }
}

/** A part as whoever is above it sees it. */
export interface Part {
  readonly name: string
  /** All that the part is, as plain data, and `before` itself, or those parts of it, where it is what was saved then. Changes nothing. */
  save(before?: SavedPart | SavedTree): SavedPart | SavedTree
  /** Parts that take themselves for what was saved and are not, by their paths: for checks, which find what `isAsSaved` does not look at. */
  overlooked(saved: SavedPart | SavedTree): readonly string[]
  /** Throws INVALID_STATE, which names the part, for what the part cannot have saved. Changes nothing. */
  check(saved: unknown): void
  /**
   * What brings a part that has gone on back in place to what this process has saved of it, in this order; nothing where it is that
   * already, undefined where some part must be made anew. Changes nothing.
   */
  rewind(saved: SavedPart | SavedTree): readonly Rewind[] | undefined
  /** Checks and takes over. A leaf that refuses has changed nothing; a tree that does is half loaded, and to be thrown away. */
  load(saved: unknown): void
}

/** What a leaf declares of itself, once. */
export interface PartFacts<State> {
  readonly name: string
  /** Changes with every change of the shape or its meaning. */
  readonly version: number
  readonly shape: Shape<State>
}

/** The error for saved state that does not fit. Whoever loads it adds the part's name. */
export const badState = (what: string): XenError => new XenError('INVALID_STATE', what)

/** The error of a part: its own, or what one below it said, under its name. */
function refusal(name: string, error: XenError): XenError {
  const below = error.details['part']
  const part = typeof below === 'string' ? `${name}.${below}` : name
  const wrong = typeof below === 'string' ? error.details['wrong'] : error.message
  return new XenError('INVALID_STATE', `saved state of ${part} does not fit: ${String(wrong)}`, { details: { part, wrong }, cause: error.cause ?? error })
}

/** Does `work` in the name of a part. */
function inside<T>(name: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw XenError.is(error) ? refusal(name, error) : error
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)

/** Looks at the frame of what was saved; gives what is in it. */
function opened(saved: unknown, version: number, content: 'state' | 'parts'): unknown {
  if (!isRecord(saved)) throw badState('it is no saved part')
  if (!Object.hasOwn(saved, content) || Object.keys(saved).some((key) => key !== 'version' && key !== content)) {
    throw badState(`it does not consist of version and ${content}`)
  }
  if (saved['version'] !== version) throw badState(`it is of version ${String(saved['version'])}, not ${version}`)
  return saved[content]
}

/**
 * What has been looked at and is about to be taken over: a tree looks at all that is below it before anything is loaded. It is forgotten as
 * soon as it is asked for, so that what somebody changes meanwhile is looked at again.
 */
class Examined {
  private readonly by = new WeakMap<object, object>()

  add(saved: unknown, examiner: object): void {
    this.by.set(saved as object, examiner)
  }

  /** True once for what this examiner has looked at. */
  take(saved: unknown, examiner: object): boolean {
    const isKnown = typeof saved === 'object' && saved !== null && this.by.get(saved) === examiner
    if (isKnown) this.by.delete(saved)
    return isKnown
  }
}

const examined = /* @__PURE__ */ new Examined()

/** Saved parts that nobody changes any more: the form of each is looked at once, however often it is loaded. */
class Settled {
  /** What has found its form to be right. */
  private readonly by = new WeakMap<object, Shape<unknown> | undefined>()

  add(saved: object): void {
    if (!this.by.has(saved)) this.by.set(saved, undefined)
  }

  isKnown(saved: unknown, shape: Shape<unknown>): boolean {
    return this.by.get(saved as object) === shape
  }

  note(saved: unknown, shape: Shape<unknown>): void {
    if (this.by.has(saved as object)) this.by.set(saved as object, shape)
  }
}

const settled = /* @__PURE__ */ new Settled()

/** Says of a tree that nobody changes it any more, nor can: it is loaded again and again, and what has been found of its form holds. */
export function settle(saved: SavedPart | SavedTree): void {
  settled.add(saved)
  if ('parts' in saved) for (const below of Object.values(saved.parts)) settle(below)
}

/** Makes a stateful part a named one. */
export function part<State>(facts: PartFacts<State>, body: Stateful<State>): Part {
  const { name, version, shape } = facts
  const examine = (saved: unknown): State => {
    const state = opened(saved, version, 'state')
    if (settled.isKnown(saved, shape)) return state as State
    const wrong = shape(state)
    if (wrong !== undefined) throw badState(`it${wrong}`)
    settled.note(saved, shape)
    return state as State
  }
  // Looked at just now, or looked at here.
  const taken = (saved: unknown): State => (examined.take(saved, examine) ? (saved as { readonly state: State }).state : examine(saved))
  return {
    name,
    save: (before) => {
      // This process has saved it.
      const known = before === undefined || 'parts' in before ? undefined : before as { readonly version: number; readonly state: State }
      if (known !== undefined && body.isAsSaved?.(known.state) === true) return known
      const saved = body.save()
      const state = known === undefined ? saved : shareState(saved, known.state)
      return known !== undefined && state === known.state ? known : { version, state }
    },
    overlooked: (saved) => {
      const { state } = saved as { readonly state: State }
      return body.isAsSaved?.(state) === true && !sameState(body.save(), state) ? [name] : []
    },
    check: (saved) => inside(name, () => {
      examine(saved)
      examined.add(saved, examine)
    }),
    load: (saved) => inside(name, () => body.load(taken(saved))),
    rewind: (saved) => {
      // This process has saved it.
      const { state } = saved as { readonly state: State }
      if (body.isAsSaved?.(state) === true) return NOTHING
      const now = body.save()
      if (sameState(now, state)) return NOTHING
      const rewind = body.rewind?.(state, now)
      return rewind && [rewind]
    },
  }
}

const NOTHING: readonly Rewind[] = /* @__PURE__ */ Object.freeze([])

/** How many parts a saved tree has: asked of the same trees again and again. */
function countOf(saved: SavedTree['parts']): number {
  let count = 0
  for (const _ in saved) count += 1
  return count
}

/** What brings all parts back that were saved; undefined where others are there now. */
function rewindAll(parts: readonly Part[], saved: SavedTree['parts']): readonly Rewind[] | undefined {
  if (countOf(saved) !== parts.length) return undefined
  let all: Rewind[] | undefined
  for (const one of parts) {
    const rewinds = Object.hasOwn(saved, one.name) ? one.rewind(saved[one.name]!) : undefined
    if (rewinds === undefined) return undefined
    if (rewinds.length > 0) (all ??= []).push(...rewinds)
  }
  return all ?? NOTHING
}

/** The tree of some parts; `before` itself where all are what they were, in the same order. */
function saveAll(version: number, parts: readonly Part[], before: SavedPart | SavedTree | undefined): SavedTree {
  const known = before !== undefined && 'parts' in before ? before.parts : undefined
  const all: (SavedPart | SavedTree)[] = []
  let isSame = known !== undefined && countOf(known) === parts.length
  for (const one of parts) {
    const old = known !== undefined && Object.hasOwn(known, one.name) ? known[one.name] : undefined
    const now = one.save(old)
    all.push(now)
    if (now !== old) isSame = false
  }
  // Mostly: then nothing is made.
  if (isSame && areNamed(known!, parts)) return before as SavedTree
  const saved: Record<string, SavedPart | SavedTree> = {}
  for (const [i, { name }] of parts.entries()) saved[name] = all[i]!
  return isSame && areNamed(known!, Object.keys(saved).map((name) => ({ name }))) ? before as SavedTree : { version, parts: saved }
}

/** Whether a record has these names in this order, in which sets are loaded; numbers go first in each. */
function areNamed(saved: SavedTree['parts'], names: readonly { readonly name: string }[]): boolean {
  let at = 0
  for (const name in saved) if (name !== names[at++]?.name) return false
  return true
}

const overlookedAll = (name: string, parts: readonly Part[], { parts: saved }: SavedTree): readonly string[] =>
  parts.flatMap((one) => (Object.hasOwn(saved, one.name) ? one.overlooked(saved[one.name]!).map((path) => `${name}.${path}`) : []))

/** Several parts under one name. They are loaded in the order given, after the shapes of all have been checked. */
export function partTree(facts: { readonly name: string; readonly version: number }, parts: readonly Part[]): Part {
  const { name, version } = facts
  const known = new Set(parts.map((one) => one.name))
  if (known.size !== parts.length) throw new Error(`two parts of ${name} have one name`)
  const examine = (saved: unknown): Readonly<Record<string, unknown>> => {
    const found = opened(saved, version, 'parts')
    if (!isRecord(found)) throw badState('its parts are no record')
    for (const key of Object.keys(found)) if (!known.has(key)) throw badState(`it has a part "${key}", which is unknown`)
    for (const one of parts) if (!Object.hasOwn(found, one.name)) throw badState(`it has no part "${one.name}"`)
    for (const one of parts) one.check(found[one.name])
    return found
  }
  return {
    name,
    save: (before) => saveAll(version, parts, before),
    overlooked: (saved) => overlookedAll(name, parts, saved as SavedTree),
    check: (saved) => inside(name, () => {
      examine(saved)
      examined.add(saved, examine)
    }),
    load: (saved) => inside(name, () => {
      const found = examined.take(saved, examine) ? (saved as SavedTree).parts : examine(saved)
      for (const one of parts) one.load(found[one.name])
    }),
    rewind: (saved) => rewindAll(parts, (saved as SavedTree).parts),
  }
}

/** Parts that come and go: one for each domain, each device. */
export interface PartSource {
  /** Those there are, each with a name of its own. */
  present(): readonly Part[]
  /** Makes or finds the part that was saved under a name; undefined when there can be none of this name. */
  make(name: string): Part | undefined
}

/**
 * Parts that come and go, under one name. Loading makes them first, in the order of the saved record; one that is there
 * already must have been saved.
 */
export function partSet(facts: { readonly name: string; readonly version: number }, source: PartSource): Part {
  const { name, version } = facts
  const examine = (saved: unknown): Readonly<Record<string, unknown>> => {
    const found = opened(saved, version, 'parts')
    if (!isRecord(found)) throw badState('its parts are no record')
    return found
  }
  return {
    name,
    save: (before) => saveAll(version, source.present(), before),
    overlooked: (saved) => overlookedAll(name, source.present(), saved as SavedTree),
    check: (saved) => inside(name, () => void examine(saved)),
    load: (saved) => inside(name, () => {
      const made = Object.entries(examine(saved)).map(([key, state]) => {
        const one = source.make(key)
        if (one === undefined) throw badState(`there can be no part "${key}"`)
        one.check(state)
        return [one, state] as const
      })
      for (const { name: present } of source.present()) {
        if (!made.some(([{ name: loaded }]) => loaded === present)) throw badState(`it has no part "${present}"`)
      }
      for (const [one, state] of made) one.load(state)
    }),
    rewind: (saved) => rewindAll(source.present(), (saved as SavedTree).parts),
  }
}
