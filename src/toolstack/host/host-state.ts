/**
 * A whole host as one tree of parts, and the way to a moment at which it can be saved: the guests stand, and dom0, as every
 * guest in TypeScript, has nothing in hand - no step of a handshake, no request to a disk, no message of XenStore. Whoever finds it busy lets it run a
 * little and looks again, for a bounded while.
 */
import type { LoadOptions } from '../../hypervisor/index.ts'
import { memoryShape } from '../../machine/index.ts'
import { inPlace, part, partTree, randomShape, XenError, type DomId, type Part, type Quiescible, type SavedTree } from '../../util/index.ts'
import type { HostParts } from '../boot/boot-host.ts'
import { later } from '../dom0/later-part.ts'
import { programsState } from '../domains/guest-programs.ts'
import { turn } from '../run/run-loop.ts'
import type { Guests } from './guests.ts'
import { toolstackState } from './toolstack-state.ts'

/** What saving works on. */
export interface HostInsides {
  readonly parts: HostParts
  readonly guests: Guests
}

/** Instructions that a busy host runs before it is looked at again. */
const STEP = 10_000
/** How often a busy host is looked at before it is refused. */
const MOST_STEPS = 10_000
/** Nanoseconds of host time that a busy host runs before it is refused: idle guests pass a second in one step. */
const MOST_TIME = 1e9
/** Turns of JavaScript that work outside of the host is given for each step: while it goes on, time stands still. */
const TURNS = 20

const busy = (what: string): XenError =>
  new XenError('BUSY', `the host cannot be saved now: ${what}`, { details: { what } })

/** What can never be saved, however long it is waited for. Throws NOT_SUPPORTED, naming it. */
function checkSavable({ parts: { plan, programs }, guests }: HostInsides): void {
  const own = plan.unsavable()
  const found = own === undefined ? programs.unsavable() : { domid: 0 as DomId, why: own }
  if (found === undefined) return
  const { domid: id, why } = found
  const name = guests.nameOf(id)
  throw new XenError('NOT_SUPPORTED', `the host cannot be saved: domain ${id} (${name}) has ${why}`, { details: { id, name, what: why } })
}

/**
 * Runs the host until nothing is under way in dom0 and in guests in TypeScript. Throws BUSY, naming what was: it goes on, and
 * nothing of it is lost; and NOT_SUPPORTED as soon as something shows that can never be saved.
 */
async function settle(host: HostInsides, check: (() => void) | undefined): Promise<void> {
  const { parts: { loop, plan, programs, clock }, guests } = host
  const latest = clock.now() + MOST_TIME
  // Devices first: they know whose work it is.
  const workers: readonly Quiescible[] = [guests.devices, plan, programs]
  const working = (): string | undefined => workers.map((one) => one.underWay()).find((why) => why !== undefined) ?? host.parts.options.interference?.underWay?.()
  for (let steps = 0; ; steps += 1) {
    await turn()
    check?.()
    for (let turns = 0; turns < TURNS && working() !== undefined; turns += 1) await turn()
    checkSavable(host)
    const operation = guests.underWay()
    if (operation !== undefined) throw busy(operation)
    const why = working()
    if (why === undefined) return
    if (steps >= MOST_STEPS || clock.now() > latest) throw busy(why)
    await loop.step(STEP)
  }
}

/**
 * Does `work` while the host stands and nothing is under way; afterwards it goes on, also when that fails. Rejects with
 * BUSY, naming what is under way, and NOT_SUPPORTED for what can never be saved. `check` is asked while it gets there, and throws where it should not go on.
 */
export async function whileQuiet<T>(host: HostInsides, work: () => T, check?: () => void): Promise<T> {
  checkSavable(host)
  const operation = host.parts.control.isStanding() ? 'a debugger, which has a run stand in its midst' : host.guests.underWay()
  if (operation !== undefined) throw busy(operation)
  const goOn = await host.parts.loop.halt()
  try {
    await settle(host, check)
    return work()
  } finally {
    goOn()
  }
}

/** What the parts below dom0 are made of. */
type LowerParts = Pick<HostParts, 'control' | 'plan' | 'machine' | 'programs' | 'seeds'>

const rowsOf = ({ rows }: LoadOptions): Pick<LoadOptions, 'rows'> => (rows === undefined ? {} : { rows })

/** The hypervisor, whose domain 0 is run by dom0's kernel. It looks at all that it is given when it is loaded. */
const hypervisorPart = ({ control, plan, programs }: LowerParts, how: LoadOptions): Part => later('hypervisor', () => ({
  ...partTree({ name: 'hypervisor', version: 1 }, []),
  save: (before) => control.save({ ...rowsOf(how), ...(before === undefined ? {} : { before: before as SavedTree }) }),
  overlooked: (saved) => control.overlooked(saved as SavedTree, rowsOf(how)),
  rewind: (saved) => control.rewind(saved as SavedTree, rowsOf(how)),
  load: (saved) => control.load(saved as SavedTree, { ...how, createRunner: (domid) => (domid === 0 ? plan.createRunner : programs.loading(domid)) }),
}))

/** What stands on memory and the frame table: the hypervisor, and dom0 with XenStore. */
const partsOnGround = (parts: LowerParts, how: LoadOptions): readonly Part[] =>
  // The seeds behind the hypervisor, whose processors take some when it is loaded.
  [hypervisorPart(parts, how), part({ name: 'seeds', version: 1, shape: randomShape }, inPlace(parts.seeds)), ...parts.plan.parts()]

/** What a host stands on: memory, the hypervisor, and dom0 with XenStore. */
export const lowerParts = (parts: LowerParts): readonly Part[] =>
  [part({ name: 'memory', version: 2, shape: memoryShape }, parts.machine.memory), ...partsOnGround(parts, {})]

/** The same where images of the ground hold memory and the frame table. `trusted`: this process has saved it. */
export const lowerPartsOnImage = (parts: LowerParts, { trusted }: { readonly trusted: boolean }): readonly Part[] =>
  partsOnGround(parts, { rows: 'apart', trusted })

/** What is above dom0: devices, the toolstack, and the guests in TypeScript. `guests` is asked for once dom0 is there. */
export const upperParts = ({ programs }: Pick<HostParts, 'programs'>, guests: () => Guests): readonly Part[] => [
  later('devices', () => guests().devices.part()),
  later('toolstack', () => part({ name: 'toolstack', version: 1, shape: toolstackState }, guests().toolstack)),
  // The last: their programs may reach everything.
  part({ name: 'programs', version: 1, shape: programsState }, {
    save: () => programs.save((domid) => guests().nameOf(domid)), isAsSaved: (state) => programs.isAsSaved(state), load: (state) => programs.load(state),
  }),
]

/** A whole host; its parts are loaded one after the other, with the making of the host between the lower and the upper. */
export const hostTree = (lower: readonly Part[], upper: readonly Part[]): Part =>
  partTree({ name: 'host', version: 3 }, [...lower, ...upper])
