/**
 * What is to be done in a fleet, as data that one can look at before it is done: steps with their reasons, and what cannot be done with its
 * own. Pure functions from a state to a plan; whoever carries a step out compares the records that it was made from.
 */
import type { FleetDomain, FleetState } from './fleet-state.ts'
import { byPriority, Draft, type Obstacle } from './place.ts'

/** One step. */
export type PlanStep =
  /** A domain that nobody has is given to a host. `after` is the dead host that had it. */
  | { readonly type: 'assign'; readonly domain: string; readonly to: string; readonly after?: string | undefined; readonly why: string }
  | { readonly type: 'move'; readonly domain: string; readonly from: string; readonly to: string; readonly why: string }
  /** A domain that is rather stopped than moved. */
  | { readonly type: 'stop'; readonly domain: string; readonly from: string; readonly why: string }
  /** Of a rolling restart: the host is empty, and is restarted. */
  | { readonly type: 'restart-host'; readonly host: string; readonly why: string }

/** A domain for which nothing can be done. */
export interface Unplaced {
  readonly domain: string
  readonly why: string
  /** What keeps it from each host. */
  readonly obstacles: readonly Obstacle[]
}

/** A plan. */
export interface Plan {
  readonly steps: readonly PlanStep[]
  readonly unplaced: readonly Unplaced[]
}

const NO_HOSTS = 'no host has room for it, or may have it'

/** Gives every domain that is to run, and that no living host has, to one: by priority, then order. */
export function planPlacement(state: FleetState): Plan {
  const draft = new Draft(state)
  const steps: PlanStep[] = []
  const unplaced: Unplaced[] = []
  const waiting = [...state.domains.values()].filter(({ name, wanted }) => wanted === 'running' && draft.hostOf(name) === undefined).sort(byPriority)
  for (const domain of waiting) {
    const after = state.owners.get(domain.name)?.host
    draft.put(domain.name, undefined)
    const choice = draft.choose(domain)
    if ('obstacles' in choice) {
      unplaced.push({ domain: domain.name, why: NO_HOSTS, obstacles: choice.obstacles })
      continue
    }
    draft.put(domain.name, choice.host)
    steps.push({ type: 'assign', domain: domain.name, to: choice.host, after, why: after === undefined ? 'it is to run' : `host ${after} is gone` })
  }
  return { steps, unplaced }
}

/** Moves `domains` off a host, each to the best one that is left. */
function evacuate(draft: Draft, host: string, why: string): Plan {
  const steps: PlanStep[] = []
  const unplaced: Unplaced[] = []
  const residents = draft.on(host).flatMap((name) => draft.domains.get(name) ?? []).sort(byPriority)
  for (const domain of residents) {
    if (domain.eviction === 'stay') {
      unplaced.push({ domain: domain.name, why: 'it is to stay where it is', obstacles: [] })
      continue
    }
    draft.put(domain.name, undefined)
    if (domain.eviction === 'stop') {
      steps.push({ type: 'stop', domain: domain.name, from: host, why })
      continue
    }
    const choice = draft.choose(domain, host)
    draft.put(domain.name, 'host' in choice ? choice.host : host)
    if ('host' in choice) steps.push({ type: 'move', domain: domain.name, from: host, to: choice.host, why })
    else unplaced.push({ domain: domain.name, why: NO_HOSTS, obstacles: choice.obstacles })
  }
  return { steps, unplaced }
}

/** The state with a host marked as to be emptied, or not. */
function withDraining(state: FleetState, host: string, isDraining: boolean): FleetState {
  const known = state.hosts.get(host)
  return known === undefined ? state : { ...state, hosts: new Map(state.hosts).set(host, { ...known, isDraining }) }
}

/** Empties a host for maintenance. `unplaced` are the domains that prevent it, and why. */
export const planDrain = (state: FleetState, host: string): Plan =>
  evacuate(new Draft(withDraining(state, host, true)), host, `host ${host} is to be emptied`)

/** How a fleet is balanced. */
export interface RebalanceOptions {
  /** When each domain was moved last, in milliseconds of any clock, and what that clock says now. */
  readonly lastMoves?: ReadonlyMap<string, number> | undefined
  readonly now?: number | undefined
  /** Milliseconds for which a domain that was moved stays. Default 60,000. */
  readonly coolDown?: number | undefined
  /** The difference of load, from 0 to 1, that is left as it is. Default 0.2. */
  readonly tolerance?: number | undefined
  /** Moves at most. Default 10. */
  readonly most?: number | undefined
}

/** The move that brings the fullest and the emptiest host closest together; undefined where none helps. */
function bestMove(draft: Draft, rested: (domain: string) => boolean, tolerance: number): Extract<PlanStep, { type: 'move' }> | undefined {
  const hosts = [...draft.hosts.keys()].sort((a, b) => draft.load(a) - draft.load(b) || (a < b ? -1 : 1))
  const [emptiest, fullest] = [hosts[0], hosts.at(-1)]
  if (emptiest === undefined || fullest === undefined || draft.load(fullest) - draft.load(emptiest) <= tolerance) return undefined
  const spread = draft.load(fullest) - draft.load(emptiest)
  let best: { readonly domain: FleetDomain; readonly spread: number } | undefined
  for (const domain of draft.on(fullest).flatMap((name) => draft.domains.get(name) ?? []).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (domain.eviction === 'stay' || domain.eviction === 'stop' || !rested(domain.name)) continue
    draft.put(domain.name, undefined)
    const fits = draft.obstacle(domain, draft.hosts.get(emptiest)!) === undefined
    draft.put(domain.name, emptiest)
    const after = Math.abs(draft.load(fullest) - draft.load(emptiest))
    draft.put(domain.name, fullest)
    if (fits && after < spread && (best === undefined || after < best.spread)) best = { domain, spread: after }
  }
  return best && { type: 'move', domain: best.domain.name, from: fullest, to: emptiest, why: `host ${fullest} is fuller than ${emptiest}` }
}

/** Evens out the memory that is used, by few moves, and none of a domain that was moved a short while ago. */
export function planRebalance(state: FleetState, { lastMoves, now = 0, coolDown = 60_000, tolerance = 0.2, most = 10 }: RebalanceOptions = {}): Plan {
  const draft = new Draft(state)
  const moved = new Set<string>()
  const rested = (domain: string): boolean => !moved.has(domain) && now - (lastMoves?.get(domain) ?? -Infinity) >= coolDown
  const steps: PlanStep[] = []
  while (steps.length < most) {
    const move = bestMove(draft, rested, tolerance)
    if (move === undefined) break
    draft.put(move.domain, move.to)
    moved.add(move.domain)
    steps.push(move)
  }
  return { steps, unplaced: [] }
}

/** What the failure of one host would come to. */
export interface FailureOutlook {
  readonly host: string
  /** All of its domains would run again elsewhere. */
  readonly isBearable: boolean
  /** Those that would not. */
  readonly unplaced: readonly Unplaced[]
}

/** Which failures a fleet can bear: the outlook for each host, as if it alone were gone (N+1). */
export function bearableFailures(state: FleetState): readonly FailureOutlook[] {
  return [...state.hosts.keys()].map((host) => {
    const hosts = new Map(state.hosts)
    hosts.delete(host)
    const own = new Set([...state.owners].filter(([, owner]) => owner.host === host).map(([domain]) => domain))
    const unplaced = planPlacement({ ...state, hosts }).unplaced.filter(({ domain }) => own.has(domain))
    return { host, isBearable: unplaced.length === 0, unplaced }
  })
}

/** Restarts every host, one after the other, each emptied before. It ends before the first that cannot be: its domains are `unplaced`. */
export function planRollingRestart(state: FleetState): Plan {
  const draft = new Draft(state)
  const steps: PlanStep[] = []
  for (const host of [...state.hosts.keys()].sort()) {
    const { steps: moves, unplaced } = evacuate(draft, host, `host ${host} is to be restarted`)
    if (unplaced.length > 0) return { steps, unplaced }
    steps.push(...moves, { type: 'restart-host', host, why: 'it is empty' })
  }
  return { steps, unplaced: [] }
}

/** The state behind a plan, where all of it is done. */
export function afterPlan(state: FleetState, { steps }: Plan): FleetState {
  const owners = new Map(state.owners)
  for (const step of steps) {
    if (step.type === 'restart-host') continue
    if (step.type === 'stop') {
      owners.delete(step.domain)
      continue
    }
    owners.set(step.domain, { host: step.to, epoch: (owners.get(step.domain)?.epoch ?? 0) + 1 })
  }
  return { ...state, owners }
}
