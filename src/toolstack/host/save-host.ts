/**
 * A whole host as plain data, and a new host that goes on from it: every domain's memory and vCPUs, the hypervisor,
 * XenStore, dom0 with its back-ends, guests in TypeScript that say their state, disks in memory, the virtual clock. Not
 * published yet.
 */
import type { GuestProgram } from '../../guest/index.ts'
import { XenError, type SavedTree } from '../../util/index.ts'
import { frameOf } from '../boot/boot-host.ts'
import type { HostOptions } from '../boot/host-options.ts'
import type { GuestPrograms, ProgramsState } from '../domains/guest-programs.ts'
import { hostTree, lowerParts, upperParts, whileQuiet } from './host-state.ts'
import { hostOf, insidesOf, type Host } from './host.ts'
import { standUp } from './stand-up.ts'

/** A saved host. */
export type HostState = SavedTree

/** Saves a host at the next moment at which nothing is under way in it; it goes on then. Rejects with BUSY and NOT_SUPPORTED. */
export function saveHost(host: Host): Promise<HostState> {
  const insides = insidesOf(host)
  const tree = hostTree(lowerParts(insides.parts), upperParts(insides.parts, () => insides.guests))
  // A tree saves a tree.
  return whileQuiet(insides, () => tree.save() as HostState)
}

/** How a saved host is loaded. */
export interface LoadHostOptions {
  /** The program of a guest in TypeScript: no save holds code. */
  readonly program?: ((domain: { readonly id: number; readonly name: string }) => GuestProgram | undefined) | undefined
}

/** Finds the programs of the guests in TypeScript. Throws NOT_SUPPORTED, naming the domain, for one that is not given. */
function findPrograms({ parts }: HostState, programs: GuestPrograms, { program }: LoadHostOptions): void {
  // The part has been checked.
  const { state } = parts['programs'] as { readonly state: ProgramsState }
  for (const { domid: id, name } of state) {
    const given = program?.({ id, name })
    if (given === undefined) {
      throw new XenError('NOT_SUPPORTED', `domain ${id} (${name}) is a guest in TypeScript: give its program`, { details: { id, name } })
    }
    programs.give(id, given)
  }
}

/**
 * A new host that goes on from a saved one, with the options that that was booted with; disks that do not lie in memory are
 * opened anew by `openDisk`. Rejects with INVALID_STATE for what is no saved host of such options, and with NOT_SUPPORTED when
 * the program of a guest in TypeScript is not given.
 */
export async function loadHost(state: HostState, options: HostOptions, loading: LoadHostOptions = {}): Promise<Host> {
  const frame = frameOf(options)
  const lower = lowerParts(frame)
  const none = (): never => { throw new Error('the guests are not there yet') }
  hostTree(lower, upperParts(frame, none)).check(state)
  findPrograms(state, frame.programs, loading)
  const made: { host?: Host } = {}
  const goOn = await standUp({ state, frame, lower }, (parts) => insidesOf(made.host = hostOf(parts)).guests)
  goOn()
  // What was stood up was installed.
  return made.host!
}
