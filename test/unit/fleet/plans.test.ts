/** Plans of a fleet: single cases, and what holds of every plan for every state. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  afterPlan, bearableFailures, planDrain, planPlacement, planRebalance, planRollingRestart, type FleetDomain, type FleetHost, type FleetState, type Plan,
} from '../../../src/fleet/index.ts'

const domain = (name: string, more: Partial<FleetDomain> = {}): FleetDomain => ({
  name, memory: 64, vcpus: 1, wanted: 'running', priority: 0, order: 0, with: [], requires: [], eviction: 'move', description: '', ...more,
})
const host = (name: string, more: Partial<FleetHost> = {}): FleetHost => ({ name, memory: 256, cpus: 4, capabilities: [], isDraining: false, ...more })
const state = (hosts: readonly FleetHost[], domains: readonly FleetDomain[], owners: Readonly<Record<string, string>> = {}): FleetState => ({
  hosts: new Map(hosts.map((each) => [each.name, each])), domains: new Map(domains.map((each) => [each.name, each])),
  owners: new Map(Object.entries(owners).map(([name, owner]) => [name, { host: owner, epoch: 1 }])),
})
const told = ({ steps }: Plan): string[] => steps.map((step) => {
  if (step.type === 'restart-host') return `restart ${step.host}`
  return step.type === 'stop' ? `stop ${step.domain}` : `${step.type} ${step.domain} to ${step.to}`
})

describe('a plan', () => {
  test('places by priority and order, where most is free, and says what keeps a domain from each host', () => {
    const plan = planPlacement(state([host('a', { memory: 100 }), host('b', { memory: 130 })], [domain('low'), domain('high', { priority: 2 }), domain('late', { priority: 2, order: 1 }), domain('big', { memory: 500, requires: ['pvh'] })]))
    expect(told(plan)).toEqual(['assign high to b', 'assign late to a', 'assign low to b'])
    expect(plan.unplaced).toEqual([{ domain: 'big', why: expect.any(String), obstacles: [{ host: 'a', why: 'it is not capable of pvh' }, { host: 'b', why: 'it is not capable of pvh' }] }])
  })

  test('keeps groups apart and friends together', () => {
    const plan = planPlacement(state([host('a'), host('b')], [domain('r1', { apart: 'r' }), domain('r2', { apart: 'r' }), domain('r3', { apart: 'r' }), domain('cache', { with: ['r1'] })], { r1: 'a' }))
    expect(told(plan)).toEqual(['assign cache to a', 'assign r2 to b'])
    expect(plan.unplaced.map((each) => [each.domain, each.obstacles.map(({ why }) => why)])).toEqual([['r3', ['r1 of group r is there', 'r2 of group r is there']]])
  })

  test('gives the domains of a dead host to others', () => {
    const plan = planPlacement(state([host('b')], [domain('x'), domain('y', { wanted: 'stopped' })], { x: 'a', y: 'a' }))
    expect(plan.steps).toEqual([{ type: 'assign', domain: 'x', to: 'b', after: 'a', why: 'host a is gone' }])
  })

  test('gives them by priority, then by order, as far as there is room, and says what keeps the rest', () => {
    const dead = [domain('batch', { priority: -1 }), domain('front', { priority: 2, order: 2 }), domain('back', { priority: 2, order: 1 }), domain('usual')]
    const plan = planPlacement(state([host('b')], [domain('own'), ...dead], { own: 'b', batch: 'a', front: 'a', back: 'a', usual: 'a' }))
    expect(told(plan)).toEqual(['assign back to b', 'assign front to b', 'assign usual to b'])
    expect(plan.unplaced).toMatchObject([{ domain: 'batch', obstacles: [{ host: 'b', why: expect.stringContaining('MiB') }] }])
  })

  test('empties a host, and says which domains prevent it', () => {
    const plan = planDrain(state([host('a'), host('b', { memory: 100 })], [domain('x'), domain('y'), domain('pinned', { eviction: 'stay' })], { x: 'a', y: 'a', pinned: 'a' }), 'a')
    expect(told(plan)).toEqual(['move x to b'])
    expect(plan.unplaced.map((each) => each.domain)).toEqual(['pinned', 'y'])
  })

  test('stops rather than moves who wants it so', () => {
    const fleet = state([host('a'), host('b')], [domain('x'), domain('batch', { eviction: 'stop' }), domain('y', { eviction: 'restart' })], { x: 'a', batch: 'a', y: 'a' })
    expect(told(planDrain(fleet, 'a'))).toEqual(['stop batch', 'move x to b', 'move y to b'])
    expect(told(planRebalance(fleet))).toEqual(['move x to b'])
  })

  test('evens out, and lets those rest that were moved', () => {
    const fleet = state([host('a'), host('b')], ['p', 'q', 'r', 's'].map((name) => domain(name)), { p: 'a', q: 'a', r: 'a', s: 'a' })
    expect(told(planRebalance(fleet))).toEqual(['move p to b', 'move q to b'])
    expect(told(planRebalance(fleet, { now: 50_000, lastMoves: new Map([['p', 1]]) }))).toEqual(['move q to b', 'move r to b'])
    expect(told(planRebalance(fleet, { now: 61_000, lastMoves: new Map([['p', 1]]) }))[0]).toBe('move p to b')
  })

  test('says which failures can be borne', () => {
    const fleet = state([host('a'), host('b', { memory: 128 })], ['p', 'q', 'r'].map((name) => domain(name)), { p: 'a', q: 'a', r: 'a' })
    expect(bearableFailures(fleet).map((each) => [each.host, each.isBearable, each.unplaced.map(({ domain: name }) => name)])).toEqual([['a', false, ['r']], ['b', true, []]])
  })

  test('restarts one host after the other', () => {
    const fleet = state([host('a'), host('b')], [domain('p'), domain('q')], { p: 'a', q: 'b' })
    expect(told(planRollingRestart(fleet))).toEqual(['move p to b', 'restart a', 'move p to a', 'move q to a', 'restart b'])
  })
})

const NAMES = ['d0', 'd1', 'd2', 'd3', 'd4', 'd5', 'd6', 'd7']
const HOSTS = ['h0', 'h1', 'h2', 'h3']
const states: fc.Arbitrary<FleetState> = fc.record({
  hosts: fc.array(fc.record({ at: fc.nat(3), memory: fc.nat(300), cpus: fc.integer({ min: 1, max: 4 }), isDraining: fc.boolean(), capable: fc.boolean() }), { maxLength: 4 }),
  domains: fc.array(fc.record({
    memory: fc.nat(150), vcpus: fc.integer({ min: 1, max: 3 }), priority: fc.nat(2), order: fc.nat(2), stopped: fc.boolean(), apart: fc.boolean(), wants: fc.boolean(), eviction: fc.constantFrom('move', 'restart', 'stop', 'stay'), friend: fc.option(fc.nat(7)),
    owner: fc.option(fc.nat(3)),
  }), { maxLength: 8 }),
}).map(({ hosts, domains }) => ({
  hosts: new Map(hosts.map(({ at, capable, ...rest }) => [HOSTS[at]!, { ...rest, name: HOSTS[at]!, capabilities: capable ? ['pvh'] : [] }])),
  domains: new Map(domains.map(({ stopped, apart, wants, friend, owner: _, ...rest }, i) => [NAMES[i]!, domain(NAMES[i]!, {
    ...rest, wanted: stopped ? 'stopped' : 'running', apart: apart ? 'group' : undefined, requires: wants ? ['pvh'] : [], with: friend === null ? [] : [NAMES[friend]!],
  })])),
  owners: new Map(domains.flatMap(({ owner }, i) => (owner === null ? [] : [[NAMES[i]!, { host: HOSTS[owner]!, epoch: 1 }]]))),
}))

/** Memory that a host has free. */
const free = ({ hosts, domains, owners }: FleetState, name: string): number =>
  hosts.get(name)!.memory - [...owners].filter(([, owner]) => owner.host === name).reduce((sum, [each]) => sum + (domains.get(each)?.memory ?? 0), 0)

/** Nobody that was put on a host is too much for it, or where it may not be. */
function isSound(before: FleetState, plan: Plan): void {
  let now = before
  for (const step of plan.steps) {
    if (step.type === 'restart-host') {
      expect([...now.owners].filter(([, owner]) => owner.host === step.host)).toEqual([])
      continue
    }
    if (step.type === 'stop') {
      now = afterPlan(now, { steps: [step], unplaced: [] })
      continue
    }
    const [own, target] = [before.domains.get(step.domain)!, before.hosts.get(step.to)!]
    expect(target.isDraining).toBe(false)
    for (const each of own.requires) expect(target.capabilities).toContain(each)
    expect(target.cpus).toBeGreaterThanOrEqual(own.vcpus)
    if (step.type === 'move') expect(now.owners.get(step.domain)!.host).toBe(step.from)
    const room = free(now, step.to)
    expect(room).toBeGreaterThanOrEqual(own.memory)
    now = afterPlan(now, { steps: [step], unplaced: [] })
    const group = [...now.owners].filter(([name, owner]) => owner.host === step.to && own.apart !== undefined && now.domains.get(name)?.apart === own.apart)
    if (own.apart !== undefined) expect(group).toHaveLength(1)
  }
}

describe('of every state', () => {
  test('a placement names each domain that is to run and has no host once, with its host or its reasons, and fits', () => {
    fc.assert(fc.property(states, (fleet) => {
      const plan = planPlacement(fleet)
      isSound(fleet, plan)
      const wanted = [...fleet.domains.values()].filter(({ name, wanted: how }) => how === 'running' && !fleet.hosts.has(fleet.owners.get(name)?.host ?? '')).map(({ name }) => name).sort()
      expect([...plan.steps.flatMap((step) => ('domain' in step ? [step.domain] : [])), ...plan.unplaced.map((each) => each.domain)].sort()).toEqual(wanted)
      for (const each of plan.unplaced) expect(each.obstacles).toHaveLength(fleet.hosts.size)
      // What is placed needs no other plan.
      expect(planPlacement(afterPlan(fleet, plan)).steps).toEqual([])
    }), { seed: 1, numRuns: 300 })
  })

  test('a drain moves or explains each domain of the host, and no other', () => {
    fc.assert(fc.property(states, (fleet) => {
      for (const name of fleet.hosts.keys()) {
        const plan = planDrain(fleet, name)
        isSound(fleet, plan)
        const own = [...fleet.owners].filter(([each, owner]) => owner.host === name && fleet.domains.has(each)).map(([each]) => each).sort()
        expect([...plan.steps.flatMap((step) => ('domain' in step ? [step.domain] : [])), ...plan.unplaced.map((each) => each.domain)].sort()).toEqual(own)
      }
    }), { seed: 2, numRuns: 200 })
  })

  test('a balance ends, fits, and is none the second time for those that were just moved', () => {
    fc.assert(fc.property(states, (fleet) => {
      const plan = planRebalance(fleet, { most: 50 })
      isSound(fleet, plan)
      const moved = plan.steps.flatMap((step) => ('domain' in step ? [step.domain] : []))
      expect(new Set(moved).size).toBe(moved.length)
      const again = planRebalance(afterPlan(fleet, plan), { now: 1, lastMoves: new Map(moved.map((each) => [each, 1])) })
      for (const step of again.steps) expect(moved).not.toContain('domain' in step ? step.domain : '')
    }), { seed: 3, numRuns: 200 })
  })

  test('a rolling restart restarts only empty hosts', () => {
    fc.assert(fc.property(states, (fleet) => {
      const plan = planRollingRestart(fleet)
      if (plan.unplaced.length === 0) expect(plan.steps.filter(({ type }) => type === 'restart-host')).toHaveLength(fleet.hosts.size)
      isSound({ ...fleet, owners: new Map([...fleet.owners].filter(([each]) => fleet.domains.has(each))) }, plan)
    }), { seed: 4, numRuns: 200 })
  })
})
