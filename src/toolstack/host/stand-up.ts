/**
 * A host that goes on from what was saved of one: everything below dom0, then what its users see, then what is above. Nothing
 * runs before everything is there.
 */
import type { GuestProgram } from '../../guest/index.ts'
import { badState, XenError, type Part, type SavedTree } from '../../util/index.ts'
import type { HostFrame, HostParts } from '../boot/boot-host.ts'
import { programsState, type ProgramsState } from '../domains/guest-programs.ts'
import type { Guests } from './guests.ts'
import { upperParts } from './host-state.ts'

/** What it is stood up from. */
export interface Standing {
  readonly state: SavedTree
  readonly frame: HostFrame
  /** The parts below dom0, as they were saved. */
  readonly lower: readonly Part[]
}

/** The number of the toolstack's connection to XenStore; the part it stands in is checked when it is loaded. */
function connectionOf({ parts }: SavedTree): number {
  const connection = (parts['toolstack'] as { readonly state?: { readonly connection?: unknown } } | undefined)?.state?.connection
  if (typeof connection !== 'number' || !Number.isSafeInteger(connection) || connection <= 0) throw badState('the toolstack has no connection to XenStore')
  return connection
}

/** Loads the parts up to dom0, on a loop that has never run; what lets it run. Throws INVALID_STATE. */
export function standUpLower({ state, frame, lower }: Standing): Promise<() => void> {
  // It stands from now on.
  const halted = frame.loop.halt()
  for (const one of lower) one.load(state.parts[one.name])
  return halted
}

/** Loads all parts; `install` makes the host of those below it. Resolves with what lets it run. Rejects with INVALID_STATE. */
export const standUp = async (standing: Standing, install: (parts: HostParts) => Guests): Promise<() => void> =>
  standUpUpper(standing, await standUpLower(standing), install)

/** The same for parts up to dom0 that are loaded; resolves with `goOn`. */
export async function standUpUpper({ state, frame }: Standing, goOn: () => void, install: (parts: HostParts) => Guests): Promise<() => void> {
  const guests = install({ ...frame, store: frame.xenstore.local(0, connectionOf(state)) })
  await guests.devices.reopen(state.parts['devices'])
  for (const one of upperParts(frame, () => guests)) one.load(state.parts[one.name])
  guests.devices.begin()
  frame.plan.checkAttached()
  return goOn
}

/** Finds the program of a guest in TypeScript: no save holds code. */
export type ProgramFinder = (domain: { readonly id: number; readonly name: string }) => GuestProgram | undefined

/** The programs of a saved host's guests in TypeScript, by domain. Throws NOT_SUPPORTED, naming the domain, for one that is not given, and INVALID_STATE. */
export function findPrograms({ parts }: SavedTree, find: ProgramFinder | undefined): ReadonlyMap<number, GuestProgram> {
  const state: unknown = (parts['programs'] as { readonly state?: unknown } | undefined)?.state
  const wrong = programsState(state)
  if (wrong !== undefined) throw badState(`saved programs${wrong}`)
  const programs = new Map<number, GuestProgram>()
  // The shape has just been checked.
  for (const { domid: id, name } of state as ProgramsState) {
    const given = find?.({ id, name })
    if (given === undefined) {
      throw new XenError('NOT_SUPPORTED', `domain ${id} (${name}) is a guest in TypeScript: give its program`, { details: { id, name } })
    }
    programs.set(id, given)
  }
  return programs
}
