/**
 * A whole host as plain data, and a new host that goes on from it: every domain's memory and vCPUs, the hypervisor,
 * XenStore, dom0 with its back-ends, guests in TypeScript that say their state, disks in memory, the virtual clock. Not
 * published yet.
 */
import type { SavedTree } from '../../util/index.ts'
import { frameOf } from '../boot/boot-host.ts'
import type { HostOptions } from '../boot/host-options.ts'
import { hostTree, lowerParts, upperParts, whileQuiet } from './host-state.ts'
import { hostOf, insidesOf, type Host } from './host.ts'
import { findPrograms, standUp, type ProgramFinder } from './stand-up.ts'

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
  readonly program?: ProgramFinder | undefined
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
  for (const [domid, program] of findPrograms(state, loading.program)) frame.programs.give(domid, program)
  const made: { host?: Host } = {}
  const goOn = await standUp({ state, frame, lower }, (parts) => insidesOf(made.host = hostOf(parts)).guests)
  goOn()
  // What was stood up was installed.
  return made.host!
}
